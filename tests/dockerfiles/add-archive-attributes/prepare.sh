python3 - <<'P'
import tarfile
# Those of the machine that made the archive, those that only the machine's own root may set, those of other disks,
# and one that is anybody's.
MACHINE = ['security.selinux', 'trusted.overlay.opaque', 'user.overlay.origin']
REFUSED = ['security.ima', 'security.evm', 'trusted.mark', 'system.nfs4_acl', 'btrfs.compression']
with tarfile.open('a.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
    for name, attributes in [('machine', MACHINE), ('refused', REFUSED), ('own', ['user.mark'])]:
        info = tarfile.TarInfo(name)
        info.mtime, info.mode = 1600000000, 0o644
        info.pax_headers = {'SCHILY.xattr.' + attribute: 'y' for attribute in attributes}
        tar.addfile(info)
P
