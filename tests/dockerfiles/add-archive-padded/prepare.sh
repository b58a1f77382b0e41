echo 1 > f
touch -d @1600000000 f
tar --owner=0 --group=0 -cf a.tar f
gzip -n < a.tar > a.tgz
(cat a.tgz; head -c 1000 /dev/zero) > zeros.tgz
(cat a.tgz; echo junk) > junk.tgz
(head -c 700 a.tar | gzip -n; tail -c +701 a.tar | gzip -n; head -c 1 /dev/zero) > members.tgz
rm f a.tar a.tgz
