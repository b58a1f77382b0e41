//! What gives the rights that an isolation lacks, in words that fit into a pod's YAML.

/// For user, mount and pid namespaces.
pub(super) const NAMESPACE: &str = "in a pod, `hostUsers: false` with `securityContext: {capabilities: {add: \
    [SYS_ADMIN]}}` gives them without rights on the node, or `seccompProfile: {type: Localhost}` with a profile that \
    allows unshare and mount; else use --isolation container";

/// For more than one id in a user namespace.
pub(super) const IDS: &str = "run the executor as root, or install newuidmap and newgidmap and give its user a range in \
    /etc/subuid and /etc/subgid";

/// For `container` isolation.
pub(super) const CONTAINER: &str = "it needs `securityContext: {runAsUser: 0, readOnlyRootFilesystem: false, \
    capabilities: {add: [CHOWN, DAC_OVERRIDE, FOWNER, SETUID, SETGID]}}`";

/// For `chroot` isolation.
pub(super) const CHROOT: &str = "it needs `securityContext: {runAsUser: 0, capabilities: {add: [SYS_CHROOT, CHOWN, DAC_OVERRIDE, FOWNER, SETUID, SETGID]}}`";

/// For `mediated` isolation.
pub(super) const MEDIATED: &str = "it needs a seccomp profile that allows seccomp with a listener, ptrace and \
    process_vm_readv (`seccompProfile: {type: RuntimeDefault}` of containerd, CRI-O and Docker does), and a node where \
    kernel.yama.ptrace_scope is 0 or 1; else use --isolation namespace or container";

/// Where nothing is allowed.
pub(super) const ANY: &str = "the least that a pod must give is `seccompProfile: {type: RuntimeDefault}` on a node with \
    Linux 6.1 or newer (mediated isolation), or `securityContext: {runAsUser: 0, capabilities: {add: [CHOWN, \
    DAC_OVERRIDE, FOWNER, SETUID, SETGID]}}` (container isolation), or the right to make user namespaces; files alone \
    (COPY, ADD, no RUN) need nothing";

/// For ending processes of other users.
pub(super) const KILL: &str = "add KILL to the container's `securityContext: {capabilities: {add: […]}}`";
