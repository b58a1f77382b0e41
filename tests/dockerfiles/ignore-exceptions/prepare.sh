mkdir .git
printf g > .git/config
