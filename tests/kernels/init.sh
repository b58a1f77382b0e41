#!/bin/sh
# The first process of the virtual machine: tries the executor in one surrounding after the other, and switches the machine off.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t securityfs security /sys/kernel/security
mkdir -p /state
/tried/context/root/bin/busybox ip link set lo up
echo "kernel $(uname -r); $(cat /sys/kernel/security/lsm)"

# Builds as a user without rights, after the words that are given; says how it ended.
build() {
    name=$1
    shift
    rm -rf /state/*
    mount -t tmpfs state /state
    chmod 777 /state
    if HOME=/tmp "$@" setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set -all --inh-caps -all \
        /tried/executor --isolation mediated -c /tried/context --no-push --state-dir /state/build >/tmp/log 2>&1; then
        echo "$name: built; $(grep -c 'done in' /tmp/log) steps"
        grep -E '^(warning|.*stays in the root)' /tmp/log
    else
        echo "$name: ended with $?"
        tail -12 /tmp/log
    fi
    umount /state
}

for scope in 0 1 2; do
    echo $scope >/proc/sys/kernel/yama/ptrace_scope
    build "ptrace_scope $scope" env
done
echo 0 >/proc/sys/kernel/yama/ptrace_scope
if apparmor_parser -r /tried/container.apparmor; then
    build "AppArmor" aa-exec -p container --
    echo 1 >/proc/sys/kernel/yama/ptrace_scope
    build "AppArmor, ptrace_scope 1" aa-exec -p container --
fi
echo 3 >/proc/sys/kernel/yama/ptrace_scope
build "ptrace_scope 3" env
echo "all was tried"
echo o >/proc/sysrq-trigger
sleep 10
