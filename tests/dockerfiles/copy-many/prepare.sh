mkdir many; cd many; for d in a b c d e; do mkdir $d; for i in $(seq 100); do echo $i > $d/$i; done; done
