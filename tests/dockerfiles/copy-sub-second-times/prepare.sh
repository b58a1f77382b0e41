touch -d @1000000000.999999999 tree/late
touch -d @1000000000.000000001 tree/d/early
touch -d @1000000000.5 tree/d
