/*
 * ptrace.cc - ptrace(2), one request a function, and two that must be fast for
 * many threads: stop_threads and detach.
 *
 * Everything here is synchronous and belongs to the one thread that seized (the
 * supervisor's main thread): a ptrace stop left for the event loop would be taken
 * by Node's own waitpid for the exit of a child.
 */
#include "binding.h"

#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vector>

#ifndef PTRACE_GET_RSEQ_CONFIGURATION /* linux/ptrace.h, 5.13 */
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif

namespace {

/* include/uapi/linux/ptrace.h; that header and glibc's cannot both be included. */
struct rseq_configuration {
    uint64_t rseq_abi_pointer;
    uint32_t rseq_abi_size, signature, flags, pad;
};

/* glibc declares the request as an enum of its own; the kernel header's numbers are the same. */
long trace(int request, pid_t tid, uintptr_t address, uintptr_t data)
{
    return ptrace(static_cast<__ptrace_request>(request), tid, address, data);
}

uint64_t monotonic_us()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000 + now.tv_nsec / 1000;
}

/* waitpid(__WALL) with a deadline: spins for 100 us, as most stops come at once, then sleeps in small steps. */
int wait_until(pid_t tid, uint64_t deadline_us, int *status)
{
    uint64_t spin_end = monotonic_us() + 100;
    for (;;) {
        pid_t got = waitpid(tid, status, __WALL | WNOHANG);
        if (got == tid) {
            if (!WIFSTOPPED(*status))
                keep_end(tid, *status);
            return 0;
        }
        if (got < 0 && errno != EINTR)
            return -errno;
        uint64_t now = monotonic_us();
        if (now >= deadline_us)
            return -ETIMEDOUT;
        if (now < spin_end) {
            sched_yield();
        } else {
            timespec nap = {0, 50000};
            nanosleep(&nap, nullptr);
        }
    }
}

/*
 * stopThreads(tids: Int32Array, options, timeoutMs): Int32Array
 * Seizes and interrupts every thread, then waits for each. A result is a wait
 * status, -ESRCH where the thread was gone, -EPERM, or -ETIMEDOUT.
 */
Napi::Value stop_threads(const Napi::CallbackInfo &info)
{
    auto tids = info[0].As<Napi::Int32Array>();
    auto options = static_cast<uintptr_t>(to_u64(info[1]));
    uint64_t deadline = monotonic_us() + static_cast<uint64_t>(to_double(info[2]) * 1000);
    auto results = Napi::Int32Array::New(info.Env(), tids.ElementLength());

    for (size_t i = 0; i < tids.ElementLength(); i++) {
        results[i] = 0;
        if (trace(PTRACE_SEIZE, tids[i], 0, options) < 0)
            results[i] = -errno;
        else if (trace(PTRACE_INTERRUPT, tids[i], 0, 0) < 0)
            results[i] = -errno;
    }
    for (size_t i = 0; i < tids.ElementLength(); i++) {
        if (results[i] != 0)
            continue;
        int status = 0;
        int error = wait_until(tids[i], deadline, &status);
        results[i] = error < 0 ? error : status;
    }
    return results;
}

/* waitStop(tid, timeoutMs): number: a wait status, or a negative errno. */
Napi::Value wait_stop(const Napi::CallbackInfo &info)
{
    int status = 0;
    uint64_t deadline = monotonic_us() + static_cast<uint64_t>(to_double(info[1]) * 1000);
    int error = wait_until(to_int(info[0]), deadline, &status);
    return Napi::Number::New(info.Env(), error < 0 ? error : status);
}

/* waitAny(timeoutMs): [tid, status] of any traced thread or child; the tid is a negative errno on failure. */
Napi::Value wait_any(const Napi::CallbackInfo &info)
{
    uint64_t deadline = monotonic_us() + static_cast<uint64_t>(to_double(info[0]) * 1000);
    auto result = Napi::Array::New(info.Env(), 2);
    int status = 0, tid;
    for (;;) {
        tid = waitpid(-1, &status, __WALL | __WNOTHREAD | WNOHANG);
        if (tid > 0 || (tid < 0 && errno != EINTR))
            break;
        if (monotonic_us() >= deadline) {
            errno = ETIMEDOUT;
            tid = -1;
            break;
        }
        sched_yield();
    }
    result.Set(0u, tid < 0 ? -errno : tid);
    result.Set(1u, status);
    return result;
}

void check(const Napi::CallbackInfo &info, const char *call, long result)
{
    if (result < 0)
        throw system_error(info.Env(), call, errno);
}

void cont(const Napi::CallbackInfo &info)
{
    check(info, "PTRACE_CONT", trace(PTRACE_CONT, to_int(info[0]), 0, to_int(info[1])));
}

void to_next_syscall(const Napi::CallbackInfo &info)
{
    check(info, "PTRACE_SYSCALL", trace(PTRACE_SYSCALL, to_int(info[0]), 0, 0));
}

void interrupt(const Napi::CallbackInfo &info)
{
    check(info, "PTRACE_INTERRUPT", trace(PTRACE_INTERRUPT, to_int(info[0]), 0, 0));
}

void set_options(const Napi::CallbackInfo &info)
{
    check(info, "PTRACE_SETOPTIONS", trace(PTRACE_SETOPTIONS, to_int(info[0]), 0, to_u64(info[1])));
}

/* detach(tids: Int32Array, signals?: Int32Array): the threads run on, each with its signal; one that is gone meanwhile is no error. */
void detach(const Napi::CallbackInfo &info)
{
    auto tids = info[0].As<Napi::Int32Array>();
    bool has_signals = info.Length() > 1 && info[1].IsTypedArray();
    auto signals = has_signals ? info[1].As<Napi::Int32Array>() : tids;
    for (size_t i = 0; i < tids.ElementLength(); i++)
        trace(PTRACE_DETACH, tids[i], 0, has_signals ? signals[i] : 0);
}

Napi::Value event_message(const Napi::CallbackInfo &info)
{
    unsigned long message = 0;
    check(info, "PTRACE_GETEVENTMSG",
          trace(PTRACE_GETEVENTMSG, to_int(info[0]), 0, reinterpret_cast<uintptr_t>(&message)));
    return Napi::Number::New(info.Env(), static_cast<double>(message));
}

/* getRegisterSet(tid, type): Buffer, of the length the kernel gives. elf.h NT_*. */
Napi::Value get_register_set(const Napi::CallbackInfo &info)
{
    std::vector<uint8_t> bytes(64 * 1024);
    iovec area = {bytes.data(), bytes.size()};
    check(info, "PTRACE_GETREGSET",
          trace(PTRACE_GETREGSET, to_int(info[0]), to_u64(info[1]), reinterpret_cast<uintptr_t>(&area)));
    return Napi::Buffer<uint8_t>::Copy(info.Env(), bytes.data(), area.iov_len);
}

void set_register_set(const Napi::CallbackInfo &info)
{
    auto bytes = info[2].As<Napi::Uint8Array>();
    iovec area = {bytes.Data(), bytes.ByteLength()};
    check(info, "PTRACE_SETREGSET",
          trace(PTRACE_SETREGSET, to_int(info[0]), to_u64(info[1]), reinterpret_cast<uintptr_t>(&area)));
}

Napi::Value get_signal_mask(const Napi::CallbackInfo &info)
{
    uint64_t mask = 0;
    check(info, "PTRACE_GETSIGMASK",
          trace(PTRACE_GETSIGMASK, to_int(info[0]), sizeof mask, reinterpret_cast<uintptr_t>(&mask)));
    return from_u64(info.Env(), mask);
}

void set_signal_mask(const Napi::CallbackInfo &info)
{
    uint64_t mask = to_u64(info[1]);
    check(info, "PTRACE_SETSIGMASK",
          trace(PTRACE_SETSIGMASK, to_int(info[0]), sizeof mask, reinterpret_cast<uintptr_t>(&mask)));
}

/* peekSignals(tid, shared): Buffer of siginfo_t, 128 bytes each, in queue order. */
Napi::Value peek_signals(const Napi::CallbackInfo &info)
{
    std::vector<siginfo_t> all;
    for (;;) {
        siginfo_t batch[16];
        __ptrace_peeksiginfo_args args = {};
        args.off = all.size();
        args.flags = info[1].As<Napi::Boolean>().Value() ? PTRACE_PEEKSIGINFO_SHARED : 0;
        args.nr = 16;
        long got = trace(PTRACE_PEEKSIGINFO, to_int(info[0]), reinterpret_cast<uintptr_t>(&args),
                         reinterpret_cast<uintptr_t>(batch));
        check(info, "PTRACE_PEEKSIGINFO", got);
        all.insert(all.end(), batch, batch + got);
        if (got < 16)
            break;
    }
    return Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<uint8_t *>(all.data()),
                                       all.size() * sizeof(siginfo_t));
}

Napi::Value get_siginfo(const Napi::CallbackInfo &info)
{
    siginfo_t siginfo = {};
    check(info, "PTRACE_GETSIGINFO",
          trace(PTRACE_GETSIGINFO, to_int(info[0]), 0, reinterpret_cast<uintptr_t>(&siginfo)));
    return Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<uint8_t *>(&siginfo), sizeof siginfo);
}

/* getRseq(tid): {address, size, signature}, or null where none is registered or the kernel cannot tell (before 5.13). */
Napi::Value get_rseq(const Napi::CallbackInfo &info)
{
    rseq_configuration rseq = {};
    long got = trace(PTRACE_GET_RSEQ_CONFIGURATION, to_int(info[0]), sizeof rseq, reinterpret_cast<uintptr_t>(&rseq));
    if (got < 0 || rseq.rseq_abi_pointer == 0)
        return info.Env().Null();
    auto result = Napi::Object::New(info.Env());
    result.Set("address", from_u64(info.Env(), rseq.rseq_abi_pointer));
    result.Set("size", Napi::Number::New(info.Env(), rseq.rseq_abi_size));
    result.Set("signature", Napi::Number::New(info.Env(), rseq.signature));
    return result;
}

} // namespace

void export_ptrace(Napi::Env env, Napi::Object exports)
{
    exports.Set("stopThreads", Napi::Function::New(env, stop_threads));
    exports.Set("waitStop", Napi::Function::New(env, wait_stop));
    exports.Set("waitAny", Napi::Function::New(env, wait_any));
    exports.Set("ptraceCont", Napi::Function::New(env, cont));
    exports.Set("ptraceSyscall", Napi::Function::New(env, to_next_syscall));
    exports.Set("ptraceInterrupt", Napi::Function::New(env, interrupt));
    exports.Set("ptraceSetOptions", Napi::Function::New(env, set_options));
    exports.Set("ptraceDetach", Napi::Function::New(env, detach));
    exports.Set("ptraceEventMessage", Napi::Function::New(env, event_message));
    exports.Set("getRegisterSet", Napi::Function::New(env, get_register_set));
    exports.Set("setRegisterSet", Napi::Function::New(env, set_register_set));
    exports.Set("getSignalMask", Napi::Function::New(env, get_signal_mask));
    exports.Set("setSignalMask", Napi::Function::New(env, set_signal_mask));
    exports.Set("peekSignals", Napi::Function::New(env, peek_signals));
    exports.Set("getSiginfo", Napi::Function::New(env, get_siginfo));
    exports.Set("getRseq", Napi::Function::New(env, get_rseq));
}
