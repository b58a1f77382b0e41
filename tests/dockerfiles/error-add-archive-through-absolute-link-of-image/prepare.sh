mkdir -p t/cur
echo 1 > t/cur/file
tar -C t --owner=0 --group=0 -cf a.tar cur/file
rm -r t
