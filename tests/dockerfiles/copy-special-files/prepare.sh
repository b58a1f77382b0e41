mkfifo -m 640 tree/pipe
mkdir tree/empty
touch tree/.hidden
