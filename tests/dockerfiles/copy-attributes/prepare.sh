setfattr -n user.mark -v seen tree/f
