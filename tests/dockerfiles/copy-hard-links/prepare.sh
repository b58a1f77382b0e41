ln tree/a tree/b
mkdir tree/d
ln tree/a tree/d/c
