mkdir s
echo f > s/f
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s/sock")'
