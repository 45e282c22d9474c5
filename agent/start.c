/*
 * start.c - procs-agent: the executable form of the player.
 *
 * `procs-agent /proc/PID/fd/N` maps the tape that the supervisor holds as descriptor
 * N (player code included) at the address the tape asks for, and jumps into it.
 * Linked at an address of its own, far from where programs live; whatever stands at
 * the wanted place by chance (its stack, the vDSO) makes it execute itself again,
 * which moves them. Exits 125 when the tape cannot be loaded.
 */
#include "syscall.h"
#include "tape.h"

#define NR_mmap       9
#define NR_mprotect   10
#define NR_pread64    17
#define NR_openat     257
#define NR_close      3
#define NR_execve     59
#define NR_write      1
#define NR_exit_group 231
#define AT_FDCWD      ((uint64_t)-100)
#define O_RDONLY      0
#define O_CLOEXEC     02000000
#define PROT_READ     1
#define PROT_WRITE    2
#define PROT_EXEC     4
#define MAP_PRIVATE   2
#define MAP_FIXED_NOREPLACE 0x100000
#define EEXIST        17
#define AT_SYSINFO_EHDR 33
#define PAGE          4096

static void die(const char *message, uint64_t length)
{
    raw_syscall(NR_write, 2, (uint64_t)message, length, 0, 0, 0);
    raw_syscall(NR_exit_group, 125, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

#define DIE(text) die("procs-agent: " text "\n", sizeof("procs-agent: " text "\n") - 1)

/* AT_SYSINFO_EHDR of the auxiliary vector, which follows the environment. getauxval(3) */
static uint64_t find_vdso(uint64_t *environment)
{
    while (*environment != 0)
        environment++;
    for (uint64_t *entry = environment + 1; entry[0] != 0; entry += 2)
        if (entry[0] == AT_SYSINFO_EHDR)
            return entry[1];
    return 0;
}

/* Called by _start with the initial stack: argc, argv…, 0, envp…, 0. */
__attribute__((noreturn)) void agent_main(uint64_t *stack)
{
    uint64_t argc = stack[0];
    char **argv = (char **)(stack + 1);
    char **envp = argv + argc + 1;
    struct tape_header header;
    uint64_t where[2];

    if (argc != 2)
        DIE("this program is started by procs and is of no use by itself");
    int64_t fd = raw_syscall(NR_openat, AT_FDCWD, (uint64_t)argv[1], O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        DIE("cannot open the tape");
    /* The first 16 bytes behind the code cannot be found without its size: the file ends with it and the base. */
    int64_t end = raw_syscall(8 /* lseek */, fd, (uint64_t)-16, 2 /* SEEK_END */, 0, 0, 0);
    if (end < 0 || raw_syscall(NR_pread64, fd, (uint64_t)where, sizeof where, end, 0, 0) != sizeof where)
        DIE("cannot read the tape's end");
    uint64_t base = where[0], code_size = where[1];
    if (raw_syscall(NR_pread64, fd, (uint64_t)&header, sizeof header, code_size, 0, 0) != sizeof header ||
        header.magic != TAPE_MAGIC || header.version != TAPE_VERSION || header.base != base ||
        header.code_size != code_size || header.size < (uint64_t)end || code_size % PAGE || base % PAGE)
        DIE("the tape is not one of this version");
    int64_t at = raw_syscall(NR_mmap, base, header.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
    if (at == -EEXIST)
        raw_syscall(NR_execve, (uint64_t)"/proc/self/exe", (uint64_t)argv, (uint64_t)envp, 0, 0, 0);
    if (at != (int64_t)base)
        DIE("cannot map the tape");
    if (raw_syscall(NR_mprotect, base, code_size, PROT_READ | PROT_EXEC, 0, 0, 0) != 0)
        DIE("cannot make the tape's code executable");
    raw_syscall(NR_close, fd, 0, 0, 0, 0, 0);

    int64_t *slots = (int64_t *)(base + code_size + header.slots);
    uint64_t vdso = find_vdso((uint64_t *)envp);
    for (uint32_t i = 0; i < header.vdso_slots; i++)
        slots[i] = (int64_t)vdso - slots[i];
    arch_jump(base, base + code_size, 0, base + code_size + header.stack);
}
