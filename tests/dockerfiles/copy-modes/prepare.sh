chmod 755 x
chmod 4755 setuid
chmod 600 secret
chmod 700 d
chmod 1777 open
