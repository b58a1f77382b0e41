truncate -s 3M s
printf x | dd of=s bs=1 seek=1500000 conv=notrunc 2>/dev/null
touch -d @1600000000 s
