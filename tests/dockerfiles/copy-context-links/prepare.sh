ln -s real/f to-file
ln -s real to-dir
mkdir tree
ln -s ../real/f tree/relative
ln -s /etc/passwd tree/absolute
ln -s nowhere tree/dangling
ln -s ../real tree/dir
