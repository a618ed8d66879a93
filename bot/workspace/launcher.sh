#!/bin/sh
# Builds the sandbox around one untrusted command (docs/sandbox.md). Called by tiers.py only, in two stages:
#
#   outer OWNER WORK OUT COMMAND...          starts COMMAND, kills it when our stdin closes, gives files back to OWNER
#   inner UID ROOT PYTHON WORK OUT [step...] -- COMMAND...     inside new namespaces: builds the root, runs COMMAND
#
# OWNER is uid:gid or `-`. Steps, in order:  ro SRC DST | rw SRC DST | over SRC DST | link TARGET PATH
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

outer() {
    owner=$1 work=$2 out=$3
    shift 3
    exec 3<&0
    "$@" </dev/null 3<&- &
    child=$!
    exec >/dev/null 2>&1 # or the shell's own "Killed" would show in the output
    # The lifeline: the other end of fd 3 is Ostler's. It closes when time is up and when Ostler dies, however it dies.
    (read -r _ || :; kill -KILL "$child") <&3 &
    watcher=$!
    code=0
    wait "$child" || code=$?
    kill -KILL "$watcher" || :
    if [ "$owner" != - ]; then
        # Children first: while the folder itself is not ours again, the next use knows that this did not end.
        find "$work" ${out:+"$out"} -depth -xdev ! -uid "${owner%:*}" -exec chown -h "$owner" {} + || :
    fi
    exit "$code"
}

bind() { # MODE SRC DST, DST relative to the new root
    if [ -d "$2" ]; then
        mkdir -p "$3"
    elif [ ! -e "$3" ]; then
        mkdir -p "${3%/*}"
        : >"$3"
    fi
    mount -o "bind,nosuid,nodev,$1" "$2" "$3"
}

# What Vite, Vitest, Babel and others keep in node_modules between runs. It belongs to whoever ran them in the checkout, so that
# they could not write it here; and a proof must not hang on it.
CACHES='.vite .vite-temp .vitest .cache'

over() { # SRC DST: SRC without CACHES, with changes kept in memory and dropped with the sandbox
    layers=$((layers + 1))
    if [ "$layers" = 1 ]; then
        mkdir -p .over
        mount -t tmpfs -o mode=755,nosuid,nodev,size=512m over .over
    fi
    here=.over/$layers
    mkdir -p "$here/low" "$here/up" "$here/work" "$2"
    chmod 1777 "$here/up"
    mount -o bind,nosuid,nodev,ro "$1" "$here/low"
    mount -t overlay -o "nosuid,nodev,lowerdir=$here/low,upperdir=$here/up,workdir=$here/work" overlay "$2"
    for name in $CACHES; do
        rm -rf "${2:?}/$name"
    done
}

devices() {
    mkdir -p dev/pts dev/shm
    for name in null zero full random urandom; do
        : >"dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    mount -t tmpfs -o mode=1777,nosuid,nodev,size=256m shm dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,nosuid,noexec devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    ln -s /proc/self/fd/0 dev/stdin
    ln -s /proc/self/fd/1 dev/stdout
    ln -s /proc/self/fd/2 dev/stderr
}

loopback() {
    ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || "$1" -I -S -c '
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH", b"lo", 0x41))' # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
}

inner() {
    uid=$1 root=$2 python=$3 work=$4 out=$5
    shift 5
    if [ "$uid" != 0 ]; then
        find "$work" ${out:+"$out"} -xdev ! -uid "$uid" -exec chown -h "$uid:$uid" {} +
    fi
    loopback "$python"
    mount -t tmpfs -o mode=755,nosuid,nodev,size=16m ostler "$root"
    cd "$root"
    mkdir -p proc tmp var run
    ln -s ../tmp var/tmp
    mount -t proc -o nosuid,nodev,noexec proc proc
    mount -t tmpfs -o mode=1777,nosuid,nodev,size=1g tmp tmp
    mkdir -p tmp/home
    [ "$uid" = 0 ] || chown "$uid:$uid" tmp/home
    devices
    layers=0
    while [ "$1" != -- ]; do
        case $1 in
            ro | rw) bind "$1" "$2" ".$3" ;;
            over) over "$2" ".$3" ;;
            link) ln -s "$2" ".$3" ;;
            *) exit 2 ;;
        esac
        shift 3
    done
    shift
    mkdir .old
    pivot_root . .old
    cd /
    umount -l .old
    rmdir .old
    mount -o remount,bind,ro,nosuid,nodev /
    "$@" </dev/null &
    exec >/dev/null 2>&1
    code=0
    wait $! || code=$?
    exit "$code" # we are pid 1 here: the kernel now kills everything that is left
}

stage=$1
shift
case $stage in
    outer) outer "$@" ;;
    inner) inner "$@" ;;
    *) exit 2 ;;
esac
