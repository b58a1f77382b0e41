chmod 640 f d/e/f
chmod 700 d/e
