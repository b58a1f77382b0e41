mkdir t t/s
echo 1 > t/f
echo 2 > t/s/g
find t -exec touch -d @1600000000 {} +
tar -C t --owner=0 --group=0 --sort=name -cf a.tar f s
rm -r t
