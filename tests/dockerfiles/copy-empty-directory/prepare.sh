mkdir -p empty holder/inner
chmod 700 empty holder/inner
