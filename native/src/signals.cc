/*
 * signals.cc - signals with their siginfo, which process.on() does not give.
 *
 * The supervisor must know whether a SIGINT came from the terminal (the target got
 * it too) or was sent to it alone, so a handler of ours writes {signal, code, pid,
 * uid} into a pipe that the event loop reads. write(2) is async-signal-safe, and a
 * full pipe (4096 signals unread) loses a signal, as the kernel would.
 */
#include "binding.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace {

int signal_pipe[2] = {-1, -1};

void on_signal(int signal, siginfo_t *siginfo, void *)
{
    int saved = errno;
    int32_t note[4] = {signal, siginfo->si_code, static_cast<int32_t>(siginfo->si_pid),
                       static_cast<int32_t>(siginfo->si_uid)};
    [[maybe_unused]] ssize_t ignored = write(signal_pipe[1], note, sizeof note); /* nobody to tell */
    errno = saved;
}

/* watchSignals(signals: number[]): descriptor to read 16-byte notes from. */
Napi::Value watch_signals(const Napi::CallbackInfo &info)
{
    if (signal_pipe[0] < 0 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        throw system_error(info.Env(), "pipe2", errno);
    auto signals = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < signals.Length(); i++) {
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        sigfillset(&action.sa_mask);
        if (sigaction(to_int(signals.Get(i)), &action, nullptr) < 0)
            throw system_error(info.Env(), "sigaction", errno);
    }
    /* Those that came while Node started: ../hold.c. */
    if (void *release = dlsym(RTLD_DEFAULT, "procs_release_signals"))
        reinterpret_cast<void (*)()>(release)();
    return Napi::Number::New(info.Env(), signal_pipe[0]);
}

/* dieOfSignal(signal): default disposition, unblocked, raised. Returns where the signal does not kill. */
void die_of_signal(const Napi::CallbackInfo &info)
{
    int signal = to_int(info[0]);
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
    raise(signal);
}

} // namespace

void export_signals(Napi::Env env, Napi::Object exports)
{
    exports.Set("watchSignals", Napi::Function::New(env, watch_signals));
    exports.Set("dieOfSignal", Napi::Function::New(env, die_of_signal));
}
