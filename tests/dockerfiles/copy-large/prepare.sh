seq 1 2000000 > big
