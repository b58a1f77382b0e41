touch -- -dash "$(printf 'new\nline')" "$(printf 'bad\377byte')" 'back\slash' 'q"uote'
n=$(printf 'n%.0s' $(seq 150)); mkdir $n; touch $n/$n
