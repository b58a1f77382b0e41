python3 - <<'P'
import io, tarfile

def archive(path, of_image):
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        def add(name, target=None, **attributes):
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = 1600000000, 0o644
            if target:
                info.type, info.linkname = tarfile.LNKTYPE, target
            else:
                info.size = 5
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, None if target else io.BytesIO(b'text\n'))
        # Each name of a file says something else of it; the last one counts for all.
        add('m', uid=3, gid=4, mode=0o600)
        add('z', './m', uid=5, gid=6, mode=0o640, mtime=1500000000)
        add('a', 'z', uid=7, gid=8, mode=0o4751, mtime=1400000000)
        # The file that takes the first name's place has nothing to do with it.
        add('m', uid=1, mode=0o604)
        add('n', 'm', uid=2, mode=0o606)
        if of_image:
            add('etc/new', 'etc/old', uid=9, gid=9, mode=0o600, mtime=1300000000)

archive('a.tar', True)
archive('b.tar', False)
P
