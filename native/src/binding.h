/*
 * binding.h - what every file of the addon uses to speak with JavaScript.
 *
 * The addon reports facts and errno; choices and retries are the supervisor's.
 * Arguments were checked in supervisor/native.ts, the only file that loads it.
 */
#pragma once

#include <napi.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

/** A JavaScript Error with `code` ("ESRCH"), `errno` (positive) and `syscall`, like Node's own. */
inline Napi::Error system_error(Napi::Env env, const char *call, int error)
{
    const char *name = strerrorname_np(error);
    std::string code = name ? name : "E" + std::to_string(error);
    Napi::Error result = Napi::Error::New(env, code + ": " + strerror(error) + ", " + call);
    result.Set("code", Napi::String::New(env, code));
    result.Set("errno", Napi::Number::New(env, error));
    result.Set("syscall", Napi::String::New(env, call));
    return result;
}

inline int32_t to_int(const Napi::Value &value) { return value.As<Napi::Number>().Int32Value(); }
inline double to_double(const Napi::Value &value) { return value.As<Napi::Number>().DoubleValue(); }
inline uint64_t to_u64(const Napi::Value &value)
{
    if (value.IsNumber())
        return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
    bool lossless = false;
    return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

inline Napi::Value from_u64(Napi::Env env, uint64_t value) { return Napi::BigInt::New(env, value); }

/*
 * A wait for a stop may meet the end of the process instead, and takes it off the process
 * table: its wait status is kept for waitChild(), which is owed it.
 */
void keep_end(pid_t pid, int status);
/* The kept wait status, once; -1 where there is none. */
int take_end(pid_t pid);

void export_ptrace(Napi::Env env, Napi::Object exports);
void export_process(Napi::Env env, Napi::Object exports);
void export_descriptor(Napi::Env env, Napi::Object exports);
void export_pages(Napi::Env env, Napi::Object exports);
void export_signals(Napi::Env env, Napi::Object exports);
