: > empty
mkdir d d/f
: > d/e
touch -d @1600000000 empty d/e d/f d
