touch -d @1000000001 tree/old tree/d
touch -d @1 tree/d/f
