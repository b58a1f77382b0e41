printf '\357\273\277drop\r\nd/x\r\n' > .dockerignore
