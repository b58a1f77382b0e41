ln -s /etc a
tar --owner=0 --group=0 -cf abs.tar a
mkdir t t/a
echo 1 > t/a/abs
tar -C t --owner=0 --group=0 -rf abs.tar a/abs
rm -r t a
