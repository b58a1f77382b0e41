mkdir -m 711 t; touch t/f; tar --owner=7 --group=7 --numeric-owner --mtime=@1400000000 -C t -cf root.tar .; rm -r t
