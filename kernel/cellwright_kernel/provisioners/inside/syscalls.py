"""Numbers of the system calls that the sandbox may not make, for x86-64 and aarch64.

From the kernel's own tables (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h); numbers from
424 on are the same everywhere. `-` where an architecture has no such call.
"""

from __future__ import annotations

import os

X86_64, AARCH64 = "x86_64", "aarch64"
AUDIT_ARCH = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}

# name, x86-64, aarch64
_TABLE = """
accept4 288 242
acct 163 89
add_key 248 217
adjtimex 159 171
bpf 321 280
chmod 90 -
chown 92 -
chroot 161 51
clock_adjtime 305 266
clock_settime 227 112
clone 56 220
clone3 435 435
connect 42 203
creat 85 -
delete_module 176 106
fanotify_init 300 262
fchmod 91 52
fchmodat 268 53
fchmodat2 452 452
fchownat 260 54
file_setattr 469 469
finit_module 313 273
fsconfig 431 431
fsmount 432 432
fsopen 430 430
fspick 433 433
futimesat 261 -
init_module 175 105
inotify_add_watch 254 27
io_uring_enter 426 426
io_uring_register 427 427
io_uring_setup 425 425
ioctl 16 29
ioperm 173 -
iopl 172 -
ioprio_set 251 30
kcmp 312 272
kexec_file_load 320 294
kexec_load 246 104
keyctl 250 219
lchown 94 -
lookup_dcookie 212 18
lremovexattr 198 15
lsetxattr 189 6
mbind 237 235
memfd_create 319 279
memfd_secret 447 447
migrate_pages 256 238
mknod 133 -
mknodat 259 33
modify_ldt 154 -
mount 165 40
mount_setattr 442 442
move_mount 429 429
move_pages 279 239
mq_open 240 180
mq_unlink 241 181
msgctl 71 187
msgget 68 186
msgrcv 70 188
msgsnd 69 189
name_to_handle_at 303 264
nfsservctl 180 42
open 2 -
open_by_handle_at 304 265
open_tree 428 428
open_tree_attr 467 467
openat 257 56
openat2 437 437
perf_event_open 298 241
personality 135 92
pidfd_getfd 438 438
pivot_root 155 41
prlimit64 302 261
process_madvise 440 440
process_mrelease 448 448
process_vm_readv 310 270
process_vm_writev 311 271
ptrace 101 117
quotactl 179 60
quotactl_fd 443 443
reboot 169 142
removexattr 197 14
removexattrat 466 466
request_key 249 218
sched_setaffinity 203 122
sched_setattr 314 274
sched_setparam 142 118
sched_setscheduler 144 119
seccomp 317 277
semctl 66 191
semget 64 190
semop 65 193
semtimedop 220 192
set_mempolicy 238 237
set_mempolicy_home_node 450 450
setdomainname 171 162
sethostname 170 161
setns 308 268
setpriority 141 140
settimeofday 164 170
setxattr 188 5
setxattrat 463 463
shmat 30 196
shmctl 31 195
shmdt 67 197
shmget 29 194
socket 41 198
socketpair 53 199
swapoff 168 225
swapon 167 224
sysfs 139 -
syslog 103 116
_sysctl 156 -
umount2 166 39
unshare 272 97
uselib 134 -
userfaultfd 323 282
ustat 136 -
utime 132 -
utimensat 280 88
utimes 235 -
vhangup 153 58
"""

NUMBERS: dict[str, dict[str, int]] = {X86_64: {}, AARCH64: {}}
"""Machine -> name of a call -> its number."""
for _line in _TABLE.split("\n"):
    if _line:
        _name, *_numbers = _line.split()
        for _machine, _number in ((X86_64, _numbers[0]), (AARCH64, _numbers[1])):
            if _number != "-":
                NUMBERS[_machine][_name] = int(_number)


def machine() -> str:
    """This machine's architecture. Raises `ValueError` for one that the table doesn't have."""
    name = os.uname().machine
    if name not in NUMBERS:
        raise ValueError("there is no list of system calls for " + name + " machines, only for x86_64 and aarch64")
    return name
