chmod 700 one/s
chmod 711 two/s
