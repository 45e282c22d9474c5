/*
 * descriptor.cc - descriptors of other processes and calls on descriptors that Node
 * lacks: pidfd_getfd, kcmp, fcntl, pipe contents, memfd.
 */
#include "binding.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace {

Napi::Value number_or_throw(const Napi::CallbackInfo &info, const char *call, long result)
{
    if (result < 0)
        throw system_error(info.Env(), call, errno);
    return Napi::Number::New(info.Env(), static_cast<double>(result));
}

Napi::Value pidfd_open(const Napi::CallbackInfo &info)
{
    return number_or_throw(info, "pidfd_open", syscall(SYS_pidfd_open, to_int(info[0]), 0));
}

/* pidfdGetfd(pidfd, fd): a duplicate of the other process's descriptor, close-on-exec. */
Napi::Value pidfd_getfd(const Napi::CallbackInfo &info)
{
    return number_or_throw(info, "pidfd_getfd", syscall(SYS_pidfd_getfd, to_int(info[0]), to_int(info[1]), 0));
}

/* compareFile(pid1, fd1, pid2, fd2): 0 for one open file description, else -1 or 1, by which many can be sorted. kcmp(2) */
Napi::Value compare_file(const Napi::CallbackInfo &info)
{
    long result = syscall(SYS_kcmp, to_int(info[0]), to_int(info[2]), KCMP_FILE, to_int(info[1]), to_int(info[3]));
    if (result < 0)
        throw system_error(info.Env(), "kcmp", errno);
    return Napi::Number::New(info.Env(), result == 0 ? 0 : result == 1 ? -1 : 1);
}

/*
 * dataRanges(fd, end): start and end of each part of a file, up to `end`, that is not a hole.
 * One range where the file system does not tell. lseek(2), SEEK_DATA.
 */
Napi::Value data_ranges(const Napi::CallbackInfo &info)
{
    int fd = to_int(info[0]);
    off_t end = static_cast<off_t>(to_u64(info[1]));
    std::vector<uint64_t> ranges;
    for (off_t at = 0; at < end;) {
        off_t start = lseek(fd, at, SEEK_DATA);
        if (start < 0 && errno == ENXIO)
            break;
        if (start < 0)
            start = at;
        off_t stop = lseek(fd, start, SEEK_HOLE);
        if (stop < 0 || stop > end)
            stop = end;
        if (start >= stop)
            break;
        ranges.push_back(static_cast<uint64_t>(start));
        ranges.push_back(static_cast<uint64_t>(stop));
        at = stop;
    }
    auto result = Napi::BigUint64Array::New(info.Env(), ranges.size());
    std::copy(ranges.begin(), ranges.end(), result.Data());
    return result;
}

/* fcntl(fd, command, argument). */
Napi::Value fcntl_number(const Napi::CallbackInfo &info)
{
    return number_or_throw(info, "fcntl", fcntl(to_int(info[0]), to_int(info[1]), to_int(info[2])));
}

/*
 * pipeContents(fd, packets): Buffer[] with what waits in a pipe, left in it: tee(2)
 * into a pipe of the same size. With packets each one is a buffer of its own.
 */
Napi::Value pipe_contents(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    int fd = to_int(info[0]);
    bool packets = info[1].As<Napi::Boolean>().Value();
    auto result = Napi::Array::New(env);
    int waiting = 0;
    if (ioctl(fd, FIONREAD, &waiting) < 0)
        throw system_error(env, "FIONREAD", errno);
    if (waiting == 0)
        return result;

    int own[2];
    if (pipe2(own, O_CLOEXEC | O_NONBLOCK | (packets ? O_DIRECT : 0)) < 0)
        throw system_error(env, "pipe2", errno);
    int size = fcntl(fd, F_GETPIPE_SZ);
    int error = fcntl(own[1], F_SETPIPE_SZ, size) < 0 ? errno : 0;
    if (error == 0 && tee(fd, own[1], waiting, SPLICE_F_NONBLOCK) != waiting)
        error = errno ? errno : EIO;
    std::vector<uint8_t> bytes(waiting);
    for (uint32_t count = 0; error == 0;) {
        ssize_t got = read(own[0], bytes.data(), bytes.size());
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            error = got < 0 ? errno : EIO;
            break;
        }
        result.Set(count++, Napi::Buffer<uint8_t>::Copy(env, bytes.data(), got));
    }
    close(own[0]);
    close(own[1]);
    if (error != 0)
        throw system_error(env, "tee", error);
    return result;
}

Napi::Value memfd(const Napi::CallbackInfo &info)
{
    std::string name = info[0].As<Napi::String>();
    return number_or_throw(info, "memfd_create", memfd_create(name.c_str(), static_cast<unsigned>(to_int(info[1]))));
}

/* pipePair(): [read end, write end], close-on-exec. */
Napi::Value pipe_pair(const Napi::CallbackInfo &info)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        throw system_error(info.Env(), "pipe2", errno);
    auto result = Napi::Array::New(info.Env(), 2);
    result.Set(0u, ends[0]);
    result.Set(1u, ends[1]);
    return result;
}

/* zeroRange(fd, offset, length): the bytes read as zero. fallocate(2); written where the file system cannot. */
void zero_range(const Napi::CallbackInfo &info)
{
    int fd = to_int(info[0]);
    off_t offset = static_cast<off_t>(to_u64(info[1])), length = static_cast<off_t>(to_u64(info[2]));
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0)
        return;
    std::vector<uint8_t> zeros(64 * 1024);
    while (length > 0) {
        ssize_t put = pwrite(fd, zeros.data(), std::min<off_t>(length, zeros.size()), offset);
        if (put <= 0)
            throw system_error(info.Env(), "pwrite", put < 0 ? errno : EIO);
        offset += put;
        length -= put;
    }
}

/* hasFileCapabilities(path): whether executing it gives capabilities. capabilities(7) */
Napi::Value has_file_capabilities(const Napi::CallbackInfo &info)
{
    std::string path = info[0].As<Napi::String>();
    return Napi::Boolean::New(info.Env(), getxattr(path.c_str(), "security.capability", nullptr, 0) > 0);
}

/* pollEvents(fd): what poll(2) reports at once: POLLHUP, POLLERR, readiness. */
Napi::Value poll_events(const Napi::CallbackInfo &info)
{
    pollfd one = {to_int(info[0]), POLLIN | POLLOUT, 0};
    if (poll(&one, 1, 0) < 0)
        throw system_error(info.Env(), "poll", errno);
    return Napi::Number::New(info.Env(), one.revents);
}

/*
 * reflinkInto(from, to, offset): the whole of one file shares its blocks with another at
 * an offset; false where the file system cannot. ioctl_ficlonerange(2).
 */
Napi::Value reflink_into(const Napi::CallbackInfo &info)
{
    file_clone_range range = {};
    range.src_fd = to_int(info[0]);
    range.dest_offset = to_u64(info[2]);
    return Napi::Boolean::New(info.Env(), ioctl(to_int(info[1]), FICLONERANGE, &range) == 0);
}

} // namespace

void export_descriptor(Napi::Env env, Napi::Object exports)
{
    exports.Set("pidfdOpen", Napi::Function::New(env, pidfd_open));
    exports.Set("pidfdGetfd", Napi::Function::New(env, pidfd_getfd));
    exports.Set("compareFile", Napi::Function::New(env, compare_file));
    exports.Set("dataRanges", Napi::Function::New(env, data_ranges));
    exports.Set("fcntl", Napi::Function::New(env, fcntl_number));
    exports.Set("pipeContents", Napi::Function::New(env, pipe_contents));
    exports.Set("memfd", Napi::Function::New(env, memfd));
    exports.Set("pipePair", Napi::Function::New(env, pipe_pair));
    exports.Set("zeroRange", Napi::Function::New(env, zero_range));
    exports.Set("hasFileCapabilities", Napi::Function::New(env, has_file_capabilities));
    exports.Set("pollEvents", Napi::Function::New(env, poll_events));
    exports.Set("reflinkInto", Napi::Function::New(env, reflink_into));
}
