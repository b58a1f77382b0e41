python3 - <<'P'
import io, tarfile
def archive(name, *entries):
    with tarfile.open(name, 'w') as tar:
        for path, kind, text in entries:
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.mtime = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644, 1600000000
            if kind == tarfile.REGTYPE:
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname = text
                tar.addfile(info)
f, d, l, h = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
archive('rootfs.tar', ('run', d, ''), ('var', d, ''), ('var/run', l, '/run'), ('var/run/app.pid', f, '7\n'),
        ('etc', d, ''), ('etc/passwd', f, 'other:x:0:0:::\n'), ('conf', l, '/etc'), ('conf/passwd', f, 'archive:x:0:0:::\n'))
archive('up.tar', ('s', l, '..'), ('s/etc/up', f, 'up\n'))
archive('dots.tar', ('x/../../etc/dots', f, 'dots\n'), ('/absolute', f, 'absolute\n'))
archive('image-links.tar', ('rel/file', f, 'relative\n'), ('up/file', f, 'upward\n'))
archive('hard.tar', ('a', f, 'a\n'), ('../b', h, '/x/../a'), ('l', l, '/'), ('l/c', h, 'l/a'))
P
