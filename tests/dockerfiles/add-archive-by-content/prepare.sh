mkdir t t/d; echo one > t/one; echo two > t/d/two; chmod 750 t/d; chmod 600 t/one; ln -s one t/link; ln t/one t/hard
tar --owner=1000 --group=50 --numeric-owner --mtime=@1400000000 -C t -cf plain.tar d hard link one
gzip -nk plain.tar; bzip2 -k plain.tar; xz -k plain.tar; rm -r t
mv plain.tar.gz archive.dat
