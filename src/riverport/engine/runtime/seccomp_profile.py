"""The default seccomp profile, as data: what a container's processes may ask of the kernel.

Docker documents its default as an allow-list ("Seccomp security profiles for Docker"): what is not named fails with
EPERM, as if a capability were missing. These are the same calls, by theme; a call that a capability opens is listed
with that capability, because without it the kernel would refuse most of its uses anyway, and the filter keeps the rest
of its code out of reach. clone3 fails with ENOSYS, so that the C library falls back to clone, whose flags a filter can
see. Missing on purpose: io_uring (as in Docker since version 25), keyrings (no namespace), userfaultfd, kexec, swap.
"""

ALWAYS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr file_getattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
    fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat
    llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
    newfstatat _newselect open openat openat2 pipe pipe2 poll ppoll ppoll_time64 pread64 preadv preadv2 pselect6
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename
    renameat renameat2 rmdir select sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx
    symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
    utimensat_time64 utimes vmsplice write writev

    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit signalfd signalfd4
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64

    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages

    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget

    alarm capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid get_thread_area gettid getuid getuid32 ioprio_get ioprio_set kill pause pidfd_open
    pidfd_send_signal prctl prlimit64 process_mrelease rseq setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setrlimit setsid set_thread_area set_tid_address setuid setuid32 sysinfo tgkill times tkill ugetrlimit
    uname vfork wait4 waitid waitpid

    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list restart_syscall rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo set_robust_list sigaltstack sigprocmask sigreturn

    sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield

    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64

    getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr process_vm_readv process_vm_writev ptrace seccomp uretprobe
"""

WITH_CAPABILITY = {
    "BPF": "bpf",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "PERFMON": "perf_event_open",
    "SYSLOG": "syslog",
    "SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr "
        "move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns "
        "statmount syslog umount umount2 unshare"
    ),
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module finit_module init_module",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "ioperm iopl",
    "SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "SYS_TTY_CONFIG": "vhangup",
}

ON_ARCHITECTURE = {
    "amd64": "arch_prctl modify_ldt",
    "x86": "modify_ldt",
    "arm": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "arm64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "ppc64le": "swapcontext sync_file_range2",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

NEW_NAMESPACES = 0x7E020000
"""The clone(2) flags that make a namespace: NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""linux, linux32, UNAME26, both, and the question which one it is."""

AF_VSOCK = 40
"""The one socket family that reaches past the network namespace, to the hypervisor."""


def default_profile() -> dict[str, object]:
    """In the form of Docker's profile files, so that one resolver serves this one and the client's own."""
    rules: list[dict[str, object]] = [
        {"names": ALWAYS.split(), "action": "SCMP_ACT_ALLOW"},
        _when("socket", 0, AF_VSOCK, "SCMP_CMP_NE"),
        *(_when("personality", 0, value, "SCMP_CMP_EQ") for value in PERSONALITIES),
    ]
    for capability, names in WITH_CAPABILITY.items():
        rules.append({"names": names.split(), "action": "SCMP_ACT_ALLOW", "includes": {"caps": [f"CAP_{capability}"]}})
    for architecture, names in ON_ARCHITECTURE.items():
        rules.append({"names": names.split(), "action": "SCMP_ACT_ALLOW", "includes": {"arches": [architecture]}})
    plain_clone = {"caps": ["CAP_SYS_ADMIN"]}
    flags = {"value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    s390 = ["s390", "s390x"]  # where the stack comes first
    rules += [
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, **flags}],
            "excludes": {**plain_clone, "arches": s390},
        },
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 1, **flags}],
            "includes": {"arches": s390},
            "excludes": plain_clone,
        },
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": plain_clone},
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
            {"architecture": "SCMP_ARCH_PPC64LE", "subArchitectures": None},
        ],
        "syscalls": rules,
    }


def _when(name: str, index: int, value: int, operator: str) -> dict[str, object]:
    return {
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": value, "op": operator}],
    }
