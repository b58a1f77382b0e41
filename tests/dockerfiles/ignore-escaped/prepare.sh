printf '\\\\!x\n\\\\#y\na\\\\*\n' > .dockerignore
for f in '!x' '#y' 'a*' ab; do echo 1 > "$f"; done
touch -d @1600000000 '!x' '#y' 'a*' ab .dockerignore
