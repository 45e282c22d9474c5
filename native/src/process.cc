/*
 * process.cc - facts about processes and small acts on them that Node lacks:
 * waiting, scheduling, limits, memory of another process, prctl.
 */
#include "binding.h"

#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vector>

namespace {

void check(const Napi::CallbackInfo &info, const char *call, long result)
{
    if (result < 0)
        throw system_error(info.Env(), call, errno);
}

struct End {
    pid_t pid;
    int status;
};

/* The newest ones: a freeze waits for the program and for the two processes that make its twin. */
End ends[8];
unsigned end_count;

/* What waitid(2) would have said of a wait status. */
siginfo_t end_siginfo(pid_t pid, int status)
{
    siginfo_t siginfo = {};
    siginfo.si_pid = pid;
    siginfo.si_code = WIFEXITED(status) ? CLD_EXITED : WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
    siginfo.si_status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
    return siginfo;
}

/*
 * waitChild(pid): {kind, value, core} of what became of a child, or null.
 * Stops and continuations are reported too; an exited child is reaped. waitid(2).
 */
Napi::Value wait_child(const Napi::CallbackInfo &info)
{
    siginfo_t siginfo = {};
    int pid = to_int(info[0]);
    int got = waitid(P_PID, pid, &siginfo, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | __WALL);
    int error = errno;
    int status = got < 0 && error == ECHILD ? take_end(pid) : -1;
    if (status >= 0) {
        siginfo = end_siginfo(pid, status);
        got = 0;
    }
    errno = error;
    check(info, "waitid", got);
    if (siginfo.si_pid == 0)
        return info.Env().Null();
    const char *kind = siginfo.si_code == CLD_EXITED                                     ? "exited"
                       : siginfo.si_code == CLD_KILLED || siginfo.si_code == CLD_DUMPED ? "killed"
                       : siginfo.si_code == CLD_CONTINUED                               ? "continued"
                                                                                         : "stopped";
    auto result = Napi::Object::New(info.Env());
    result.Set("kind", kind);
    result.Set("value", siginfo.si_status);
    result.Set("core", siginfo.si_code == CLD_DUMPED);
    return result;
}

/*
 * reapOrphans(known: number[]): reaps ended children until one is met that somebody
 * else waits for, or none is left.
 */
void reap_orphans(const Napi::CallbackInfo &info)
{
    auto known = info[0].As<Napi::Array>();
    for (;;) {
        siginfo_t siginfo = {};
        if (waitid(P_ALL, 0, &siginfo, WEXITED | WNOHANG | WNOWAIT) < 0 || siginfo.si_pid == 0)
            return;
        for (uint32_t i = 0; i < known.Length(); i++)
            if (to_int(known.Get(i)) == siginfo.si_pid)
                return;
        waitpid(siginfo.si_pid, nullptr, WNOHANG);
    }
}

/* sendSignal(pid, tid, signal): tgkill(2), or kill(2) where tid is 0. */
void send_signal(const Napi::CallbackInfo &info)
{
    int tid = to_int(info[1]);
    if (tid != 0)
        check(info, "tgkill", syscall(SYS_tgkill, to_int(info[0]), tid, to_int(info[2])));
    else
        check(info, "kill", kill(to_int(info[0]), to_int(info[2])));
}

void set_child_subreaper(const Napi::CallbackInfo &info)
{
    check(info, "prctl", prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}

Napi::Value read_memory(const Napi::CallbackInfo &info)
{
    size_t length = static_cast<size_t>(to_u64(info[2]));
    auto bytes = Napi::Buffer<uint8_t>::New(info.Env(), length);
    iovec local = {bytes.Data(), length};
    iovec remote = {reinterpret_cast<void *>(to_u64(info[1])), length};
    ssize_t got = process_vm_readv(to_int(info[0]), &local, 1, &remote, 1, 0);
    check(info, "process_vm_readv", got);
    if (static_cast<size_t>(got) != length)
        throw system_error(info.Env(), "process_vm_readv", EFAULT);
    return bytes;
}

void write_memory(const Napi::CallbackInfo &info)
{
    auto bytes = info[2].As<Napi::Uint8Array>();
    iovec local = {bytes.Data(), bytes.ByteLength()};
    iovec remote = {reinterpret_cast<void *>(to_u64(info[1])), bytes.ByteLength()};
    ssize_t put = process_vm_writev(to_int(info[0]), &local, 1, &remote, 1, 0);
    check(info, "process_vm_writev", put);
    if (static_cast<size_t>(put) != bytes.ByteLength())
        throw system_error(info.Env(), "process_vm_writev", EFAULT);
}

struct sched_attributes { /* include/uapi/linux/sched/types.h, first version, 48 bytes */
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* getScheduling(tid): {policy, flags, nice, priority, runtime, deadline, period}. sched_getattr(2). */
Napi::Value get_scheduling(const Napi::CallbackInfo &info)
{
    sched_attributes a = {};
    check(info, "sched_getattr", syscall(SYS_sched_getattr, to_int(info[0]), &a, sizeof a, 0));
    auto result = Napi::Object::New(info.Env());
    result.Set("policy", a.policy);
    result.Set("flags", from_u64(info.Env(), a.flags));
    result.Set("nice", a.nice);
    result.Set("priority", a.priority);
    result.Set("runtime", from_u64(info.Env(), a.runtime));
    result.Set("deadline", from_u64(info.Env(), a.deadline));
    result.Set("period", from_u64(info.Env(), a.period));
    return result;
}

/* getAffinity(tid): Buffer, one bit a CPU, as the kernel gives it. */
Napi::Value get_affinity(const Napi::CallbackInfo &info)
{
    std::vector<uint8_t> mask(8192);
    long got = syscall(SYS_sched_getaffinity, to_int(info[0]), mask.size(), mask.data());
    check(info, "sched_getaffinity", got);
    return Napi::Buffer<uint8_t>::Copy(info.Env(), mask.data(), got);
}

/* getLimits(pid): [[soft, hard], …] for RLIMIT 0…15, as bigint. prlimit(2). */
Napi::Value get_limits(const Napi::CallbackInfo &info)
{
    auto result = Napi::Array::New(info.Env());
    for (int resource = 0; resource < 16; resource++) {
        rlimit64 limit = {};
        check(info, "prlimit64", syscall(SYS_prlimit64, to_int(info[0]), resource, nullptr, &limit));
        auto pair = Napi::Array::New(info.Env(), 2);
        pair.Set(0u, from_u64(info.Env(), limit.rlim_cur));
        pair.Set(1u, from_u64(info.Env(), limit.rlim_max));
        result.Set(resource, pair);
    }
    return result;
}

/* getRobustList(tid): {head, length}. get_robust_list(2). */
Napi::Value get_robust_list(const Napi::CallbackInfo &info)
{
    uint64_t head = 0;
    size_t length = 0;
    check(info, "get_robust_list", syscall(SYS_get_robust_list, to_int(info[0]), &head, &length));
    auto result = Napi::Object::New(info.Env());
    result.Set("head", from_u64(info.Env(), head));
    result.Set("length", static_cast<double>(length));
    return result;
}

/* getSpeculation(): own processes' clocks: clock_gettime(2) in nanoseconds. */
Napi::Value clock_now(const Napi::CallbackInfo &info)
{
    timespec now = {};
    check(info, "clock_gettime", clock_gettime(to_int(info[0]), &now));
    return Napi::BigInt::New(info.Env(), static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec);
}

/* pinAndYield(cpu): moves the calling thread to a CPU and back; returns [monotonic ns, on the CPU] for clock comparisons. */
Napi::Value run_on_cpu(const Napi::CallbackInfo &info)
{
    cpu_set_t before, one;
    if (sched_getaffinity(0, sizeof before, &before) < 0)
        return Napi::Boolean::New(info.Env(), false);
    CPU_ZERO(&one);
    CPU_SET(to_int(info[0]), &one);
    if (sched_setaffinity(0, sizeof one, &one) < 0)
        return Napi::Boolean::New(info.Env(), false);
    sched_yield();
    info[1].As<Napi::Function>().Call({});
    sched_setaffinity(0, sizeof before, &before);
    return Napi::Boolean::New(info.Env(), true);
}

void set_core_limit_zero(const Napi::CallbackInfo &info)
{
    rlimit none = {0, 0};
    check(info, "setrlimit", setrlimit(RLIMIT_CORE, &none));
}

} // namespace

void keep_end(pid_t pid, int status) { ends[end_count++ % 8] = {pid, status}; }

int take_end(pid_t pid)
{
    for (End &end : ends) {
        if (end.pid != pid)
            continue;
        int status = end.status;
        end = {};
        return status;
    }
    return -1;
}

void export_process(Napi::Env env, Napi::Object exports)
{
    exports.Set("waitChild", Napi::Function::New(env, wait_child));
    exports.Set("reapOrphans", Napi::Function::New(env, reap_orphans));
    exports.Set("sendSignal", Napi::Function::New(env, send_signal));
    exports.Set("setChildSubreaper", Napi::Function::New(env, set_child_subreaper));
    exports.Set("readMemory", Napi::Function::New(env, read_memory));
    exports.Set("writeMemory", Napi::Function::New(env, write_memory));
    exports.Set("getScheduling", Napi::Function::New(env, get_scheduling));
    exports.Set("getAffinity", Napi::Function::New(env, get_affinity));
    exports.Set("getLimits", Napi::Function::New(env, get_limits));
    exports.Set("getRobustList", Napi::Function::New(env, get_robust_list));
    exports.Set("clockNow", Napi::Function::New(env, clock_now));
    exports.Set("runOnCpu", Napi::Function::New(env, run_on_cpu));
    exports.Set("setCoreLimitZero", Napi::Function::New(env, set_core_limit_zero));
}
