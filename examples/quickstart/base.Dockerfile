FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
