/*
 * pages.cc - finds, copies and checks page contents.
 *
 * scanPages tells which pages of a process hold something (PAGEMAP_SCAN, 6.7, or
 * /proc/PID/pagemap before); writePages takes pages out of a process (a twin, or a
 * frozen target) or a file and writes the non-zero ones to the image, with several
 * threads, each in pieces that fit the cache; checksumRange reads them back.
 * Page contents go from descriptor to descriptor and never become JavaScript buffers.
 */
#include "binding.h"

#include "../../agent/crc32c.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

constexpr uint64_t PAGE = 4096;
constexpr int BACKGROUND_NICE = 10;
constexpr uint64_t PIECE = 256 * 1024;           /* one thread's unit of work: fits the second-level cache */
constexpr uint64_t WRITEBACK_STEP = 8 << 20;     /* started on its way to the disk when this much is written */

/* include/uapi/linux/fs.h, 6.7 */
struct page_region {
    uint64_t start, end, categories;
};
struct pm_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long PAGEMAP_SCAN_REQUEST = _IOWR('f', 16, pm_scan_arg);
constexpr uint64_t IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_PFNZERO = 1 << 5, IS_GUARD = 1 << 8;

class Descriptor { /* an owned descriptor */
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;
    ~Descriptor()
    {
        if (fd_ >= 0)
            close(fd_);
    }
    int get() const { return fd_; }

private:
    int fd_;
};

/* What is looked for in a range. The values are those of supervisor/native.ts. */
enum class Select : uint64_t {
    PRIVATE = 0, /* pages of the process's own: anonymous, or changed copies of a file's */
    ALL = 1,     /* every page, whether mapped or not (shared memory; read through the mapping) */
    GUARD = 2,   /* guard markers (MADV_GUARD_INSTALL) */
    MAPPED = 3,  /* what is present or swapped, also pages of the file */
    CHANGED = 4, /* PRIVATE of a file mapping: a page of zeros is one that was changed */
};

struct Range {
    uint64_t start, end;
};

void append(std::vector<Range> &ranges, uint64_t start, uint64_t end)
{
    if (!ranges.empty() && ranges.back().end == start)
        ranges.back().end = end;
    else
        ranges.push_back({start, end});
}

/* Whether this kernel has PAGE_IS_GUARD, which came after the markers. */
std::atomic<bool> tells_guards{true};

/* PAGEMAP_SCAN. Returns 0, or -errno: -ENOTTY on kernels without it, -EINVAL without the category asked for. */
int scan_by_ioctl(int pagemap, Range range, Select select, std::vector<Range> &found)
{
    page_region regions[512];
    pm_scan_arg arg = {};
    arg.size = sizeof arg;
    arg.vec = reinterpret_cast<uint64_t>(regions);
    arg.vec_len = 512;
    switch (select) {
    case Select::GUARD:
        arg.category_mask = IS_GUARD;
        arg.return_mask = IS_GUARD;
        break;
    case Select::MAPPED:
        arg.category_anyof_mask = IS_PRESENT | IS_SWAPPED;
        arg.category_inverted = IS_PFNZERO;
        arg.category_mask = IS_PFNZERO;
        arg.return_mask = IS_PRESENT;
        break;
    default: /* PRIVATE: not of a file, not the zero page, not a guard marker (which looks like swap) */
        arg.category_anyof_mask = IS_PRESENT | IS_SWAPPED;
        arg.category_inverted = IS_FILE | IS_PFNZERO | IS_GUARD;
        arg.category_mask = IS_FILE | IS_PFNZERO | IS_GUARD;
        arg.return_mask = IS_FILE;
    }
    while (range.start < range.end) {
        arg.start = range.start;
        arg.end = range.end;
        int count = ioctl(pagemap, PAGEMAP_SCAN_REQUEST, &arg);
        if (count < 0 && errno == EINVAL && (arg.category_inverted & IS_GUARD)) {
            tells_guards = false;
            arg.category_inverted &= ~IS_GUARD;
            arg.category_mask &= ~IS_GUARD;
            continue;
        }
        if (count < 0)
            return -errno;
        for (int i = 0; i < count; i++)
            append(found, regions[i].start, regions[i].end);
        if (arg.walk_end <= range.start)
            break;
        range.start = arg.walk_end;
    }
    return 0;
}

/* /proc/PID/pagemap, 8 bytes a page. proc_pid_pagemap(5), admin-guide/mm/pagemap.rst. */
int scan_by_table(int pagemap, Range range, Select select, std::vector<Range> &found)
{
    constexpr uint64_t PRESENT = 1ull << 63, SWAPPED = 1ull << 62, FILE_OR_SHARED = 1ull << 61, GUARD = 1ull << 58;
    std::vector<uint64_t> entries(8192);
    while (range.start < range.end) {
        size_t wanted = std::min<uint64_t>(entries.size(), (range.end - range.start) / PAGE);
        ssize_t got = pread(pagemap, entries.data(), wanted * 8, range.start / PAGE * 8);
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        for (size_t i = 0; i < static_cast<size_t>(got) / 8; i++) {
            uint64_t entry = entries[i];
            bool wanted_page = select == Select::GUARD ? (entry & GUARD) != 0
                               : !(entry & (PRESENT | SWAPPED)) || (entry & GUARD)
                                   ? false
                                   : select == Select::MAPPED || !(entry & FILE_OR_SHARED);
            if (wanted_page)
                append(found, range.start + i * PAGE, range.start + (i + 1) * PAGE);
        }
        range.start += static_cast<uint64_t>(got) / 8 * PAGE;
    }
    return 0;
}

int scan(int pagemap, Range range, Select select, bool use_ioctl, std::vector<Range> &found)
{
    if (select == Select::ALL) {
        append(found, range.start, range.end);
        return 0;
    }
    if (use_ioctl) {
        int error = scan_by_ioctl(pagemap, range, select, found);
        if (error == -EINVAL && select == Select::GUARD)
            return scan_by_table(pagemap, range, select, found); /* PAGE_IS_GUARD came after the markers */
        if (error != -ENOTTY)
            return error;
    }
    return scan_by_table(pagemap, range, select, found);
}

int open_pagemap(int pid)
{
    int fd = open(("/proc/" + std::to_string(pid) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* scanPages(pid, start, end, select, useIoctl): BigUint64Array of start, end pairs. */
Napi::Value scan_pages(const Napi::CallbackInfo &info)
{
    Descriptor pagemap(open_pagemap(to_int(info[0])));
    if (pagemap.get() < 0)
        throw system_error(info.Env(), "open pagemap", -pagemap.get());
    std::vector<Range> found;
    int error = scan(pagemap.get(), {to_u64(info[1]), to_u64(info[2])}, static_cast<Select>(to_u64(info[3])),
                     info[4].As<Napi::Boolean>().Value(), found);
    if (error < 0)
        throw system_error(info.Env(), "PAGEMAP_SCAN", -error);
    auto result = Napi::BigUint64Array::New(info.Env(), found.size() * 2);
    memcpy(result.Data(), found.data(), found.size() * sizeof(Range));
    return result;
}

/* One entry of an image's extent table: supervisor/image/, docs/IMAGE.md. */
struct ExtentEntry {
    uint32_t space, page_count;
    uint64_t address, file_offset;
    uint32_t stored_length, crc, codec, reserved;
};
static_assert(sizeof(ExtentEntry) == 40);

/* One range to write, five 64-bit numbers from JavaScript. */
struct Source {
    uint64_t start, end; /* in the process, or in the file */
    uint64_t address;    /* where `start` is in the space */
    uint64_t space;
    Select select;
};
static_assert(sizeof(Source) == 40);

struct Piece {
    uint64_t start, end, address;
    uint32_t space;
    bool keep_zeros = false; /* a page of zeros is stored too */
    bool may_lack = false;   /* what cannot be read is not there */
};

struct WriteRequest {
    int pid = 0;             /* 0: the pages come from source_fd */
    int source_fd = -1;
    bool force_mem = false;  /* read through /proc/PID/mem, which reads pages without PROT_READ too */
    bool use_ioctl = true;
    std::vector<Source> sources;
    int image_fd = -1;
    uint64_t offset = 0;
    unsigned threads = 1;
    bool in_background = false;
};

struct WriteResult {
    std::vector<ExtentEntry> extents;
    uint64_t end = 0, pages = 0, zero_pages = 0;
    int error = 0;
    const char *call = "";
    uint64_t address = 0; /* where it failed */
};

bool is_zero(const uint8_t *page)
{
    const uint64_t *words = reinterpret_cast<const uint64_t *>(page);
    for (size_t i = 0; i < PAGE / 8; i += 8)
        if (words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] | words[i + 6] |
            words[i + 7])
            return false;
    return true;
}

class PageWriter {
public:
    explicit PageWriter(const WriteRequest &request) : request_(request), next_offset_(request.offset) {}

    WriteResult run()
    {
        find_pieces();
        unsigned count = std::max(1u, std::min<unsigned>(request_.threads, pieces_.size()));
        std::vector<std::thread> threads;
        for (unsigned i = request_.in_background ? 0 : 1; i < count; i++)
            threads.emplace_back([this] {
                /* The program goes first: it runs while its pages are written. A thread of our own, as nice is for good. */
                if (request_.in_background)
                    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), BACKGROUND_NICE);
                work();
            });
        if (!request_.in_background)
            work();
        for (auto &thread : threads)
            thread.join();
        result_.end = next_offset_;
        return std::move(result_);
    }

private:
    void fail(const char *call, int error, uint64_t address)
    {
        std::lock_guard<std::mutex> guard(lock_);
        if (result_.error == 0) {
            result_.error = error;
            result_.call = call;
            result_.address = address;
        }
        failed_ = true;
    }

    void find_pieces()
    {
        std::vector<Range> found;
        std::unique_ptr<Descriptor> pagemap;
        for (const Source &source : request_.sources) {
            found.clear();
            if (request_.pid != 0) {
                if (!pagemap)
                    pagemap = std::make_unique<Descriptor>(open_pagemap(request_.pid));
                int error = pagemap->get() < 0 ? pagemap->get()
                                               : scan(pagemap->get(), {source.start, source.end}, source.select,
                                                      request_.use_ioctl, found);
                if (error < 0)
                    return fail("pagemap", -error, source.start);
            } else {
                found.push_back({source.start, source.end});
            }
            /* Pieces end at multiples of their size in the space, so that whole huge pages consist of whole extents. */
            for (Range range : found)
                for (uint64_t at = range.start, next; at < range.end; at = next) {
                    uint64_t address = source.address + (at - source.start);
                    next = std::min(at + (PIECE - address % PIECE), range.end);
                    pieces_.push_back({at, next, address, static_cast<uint32_t>(source.space), source.select == Select::CHANGED,
                                       source.select == Select::ALL || !tells_guards});
                }
        }
    }

    /*
     * A mapping may end behind the end of its file, and some kernels do not tell guard markers from
     * pages: what is not there is zero.
     */
    int fetch_page_by_page(const Piece &piece, uint8_t *buffer, int mem)
    {
        for (uint64_t at = piece.start; at < piece.end; at += PAGE) {
            Piece page = {at, at + PAGE, 0, 0};
            uint8_t *to = buffer + (at - piece.start);
            int error = fetch(page, to, mem);
            if (error == -EFAULT || error == -EIO)
                memset(to, 0, PAGE);
            else if (error < 0)
                return error;
        }
        return 0;
    }

    /* Fills the buffer with one piece; what a file lacks behind its end is zero. Returns 0 or -errno. */
    int fetch(const Piece &piece, uint8_t *buffer, int mem)
    {
        size_t length = piece.end - piece.start, done = 0;
        while (done < length) {
            ssize_t got;
            if (request_.pid == 0) {
                got = pread(request_.source_fd, buffer + done, length - done, piece.start + done);
                if (got == 0) {
                    memset(buffer + done, 0, length - done);
                    return 0;
                }
            } else if (mem >= 0) {
                got = pread(mem, buffer + done, length - done, piece.start + done);
            } else {
                iovec local = {buffer + done, length - done};
                iovec remote = {reinterpret_cast<void *>(piece.start + done), length - done};
                got = process_vm_readv(request_.pid, &local, 1, &remote, 1, 0);
            }
            if (got < 0)
                return -errno;
            if (got == 0)
                return -EFAULT;
            done += got;
        }
        return 0;
    }

    void work()
    {
        std::unique_ptr<uint8_t[]> buffer(new (std::align_val_t(PAGE)) uint8_t[PIECE]);
        std::vector<ExtentEntry> extents;
        Descriptor mem(request_.pid != 0 && request_.force_mem
                           ? open(("/proc/" + std::to_string(request_.pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC)
                           : -1);
        uint64_t pages = 0, zero_pages = 0;

        while (!failed_) {
            size_t index = next_piece_.fetch_add(1);
            if (index >= pieces_.size())
                break;
            const Piece &piece = pieces_[index];
            int error = fetch(piece, buffer.get(), mem.get());
            if (error < 0 && piece.may_lack)
                error = fetch_page_by_page(piece, buffer.get(), mem.get());
            if (error < 0) {
                fail(request_.pid == 0 ? "pread" : "process_vm_readv", -error, piece.start);
                break;
            }
            if (!store(piece, buffer.get(), extents, pages, zero_pages))
                break;
        }
        std::lock_guard<std::mutex> guard(lock_);
        result_.extents.insert(result_.extents.end(), extents.begin(), extents.end());
        result_.pages += pages;
        result_.zero_pages += zero_pages;
    }

    /* Writes the runs of non-zero pages of one piece, side by side in the image. */
    bool store(const Piece &piece, const uint8_t *bytes, std::vector<ExtentEntry> &extents, uint64_t &pages,
               uint64_t &zero_pages)
    {
        uint64_t count = (piece.end - piece.start) / PAGE;
        iovec runs[PIECE / PAGE];
        size_t run_count = 0;
        uint64_t total = 0;

        pages += count;
        for (uint64_t page = 0; page < count;) {
            if (!piece.keep_zeros && is_zero(bytes + page * PAGE)) {
                zero_pages++;
                page++;
                continue;
            }
            uint64_t first = page;
            while (page < count && (piece.keep_zeros || !is_zero(bytes + page * PAGE)))
                page++;
            runs[run_count++] = {const_cast<uint8_t *>(bytes) + first * PAGE, (page - first) * PAGE};
            total += (page - first) * PAGE;
        }
        if (total == 0)
            return true;
        uint64_t offset = next_offset_.fetch_add(total);
        uint64_t at = offset;
        for (size_t i = 0; i < run_count; i++) {
            const uint8_t *run = static_cast<const uint8_t *>(runs[i].iov_base);
            ExtentEntry entry = {};
            entry.space = piece.space;
            entry.page_count = static_cast<uint32_t>(runs[i].iov_len / PAGE);
            entry.address = piece.address + (run - bytes);
            entry.file_offset = at;
            entry.stored_length = static_cast<uint32_t>(runs[i].iov_len);
            entry.crc = crc32c(0, run, runs[i].iov_len);
            extents.push_back(entry);
            at += runs[i].iov_len;
        }
        size_t first = 0;
        for (at = offset; total > 0;) {
            ssize_t put = pwritev(request_.image_fd, runs + first, static_cast<int>(run_count - first), at);
            if (put < 0 && errno == EINTR)
                continue;
            if (put <= 0) {
                fail("pwrite", put < 0 ? errno : EIO, piece.start);
                return false;
            }
            at += put;
            total -= put;
            while (put > 0 && static_cast<size_t>(put) >= runs[first].iov_len)
                put -= runs[first++].iov_len;
            if (put > 0) {
                runs[first].iov_base = static_cast<uint8_t *>(runs[first].iov_base) + put;
                runs[first].iov_len -= put;
            }
        }
        /* Whoever crosses a step starts the disk on what lies before it; a hint, so errors are left to fdatasync. */
        if (offset / WRITEBACK_STEP != at / WRITEBACK_STEP && at / WRITEBACK_STEP > 0) {
            uint64_t step = (at / WRITEBACK_STEP - 1) * WRITEBACK_STEP;
            sync_file_range(request_.image_fd, step, WRITEBACK_STEP, SYNC_FILE_RANGE_WRITE);
        }
        return true;
    }

    const WriteRequest &request_;
    std::vector<Piece> pieces_;
    std::atomic<size_t> next_piece_{0};
    std::atomic<uint64_t> next_offset_;
    std::atomic<bool> failed_{false};
    std::mutex lock_;
    WriteResult result_;
};

WriteRequest request_from(const Napi::CallbackInfo &info)
{
    auto options = info[0].As<Napi::Object>();
    WriteRequest request;
    request.pid = to_int(options.Get("pid"));
    request.source_fd = to_int(options.Get("sourceFd"));
    request.force_mem = options.Get("forceMem").As<Napi::Boolean>().Value();
    request.use_ioctl = options.Get("useIoctl").As<Napi::Boolean>().Value();
    request.image_fd = to_int(options.Get("imageFd"));
    request.offset = to_u64(options.Get("offset"));
    request.threads = static_cast<unsigned>(to_int(options.Get("threads")));
    auto sources = options.Get("sources").As<Napi::BigUint64Array>();
    request.sources.resize(sources.ElementLength() / 5);
    memcpy(request.sources.data(), sources.Data(), request.sources.size() * sizeof(Source));
    return request;
}

Napi::Value result_to(Napi::Env env, const WriteResult &result)
{
    auto object = Napi::Object::New(env);
    object.Set("extents", Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t *>(result.extents.data()),
                                                     result.extents.size() * sizeof(ExtentEntry)));
    object.Set("end", Napi::Number::New(env, static_cast<double>(result.end)));
    object.Set("pages", Napi::Number::New(env, static_cast<double>(result.pages)));
    object.Set("zeroPages", Napi::Number::New(env, static_cast<double>(result.zero_pages)));
    return object;
}

Napi::Error write_error(Napi::Env env, const WriteResult &result)
{
    Napi::Error error = system_error(env, result.call, result.error);
    error.Set("address", from_u64(env, result.address));
    return error;
}

/* writePagesSync(request): result, while the target stands still. */
Napi::Value write_pages_sync(const Napi::CallbackInfo &info)
{
    WriteRequest request = request_from(info);
    WriteResult result = PageWriter(request).run();
    if (result.error != 0)
        throw write_error(info.Env(), result);
    return result_to(info.Env(), result);
}

class WriteWorker : public Napi::AsyncWorker {
public:
    WriteWorker(Napi::Env env, WriteRequest request)
        : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), request_(std::move(request))
    {
    }
    Napi::Promise promise() const { return deferred_.Promise(); }
    void Execute() override { result_ = PageWriter(request_).run(); }
    void OnOK() override
    {
        if (result_.error != 0)
            deferred_.Reject(write_error(Env(), result_).Value());
        else
            deferred_.Resolve(result_to(Env(), result_));
    }

private:
    Napi::Promise::Deferred deferred_;
    WriteRequest request_;
    WriteResult result_;
};

/* writePages(request): Promise<result>. */
Napi::Value write_pages(const Napi::CallbackInfo &info)
{
    WriteRequest request = request_from(info);
    request.in_background = true;
    auto worker = new WriteWorker(info.Env(), std::move(request)); /* deletes itself when done */
    worker->Queue();
    return worker->promise();
}

/* Extents over bytes that are in the image already (a reflinked file): 256 KiB each. */
class DescribeWorker : public Napi::AsyncWorker {
public:
    DescribeWorker(Napi::Env env, int fd, uint64_t offset, uint64_t length, uint32_t space)
        : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), fd_(fd), offset_(offset),
          length_(length), space_(space)
    {
    }
    Napi::Promise promise() const { return deferred_.Promise(); }
    void Execute() override
    {
        std::vector<uint8_t> buffer(PIECE);
        for (uint64_t at = 0; at < length_; at += PIECE) {
            uint64_t size = std::min(PIECE, length_ - at);
            for (uint64_t done = 0; done < size;) {
                ssize_t got = pread(fd_, buffer.data() + done, size - done, offset_ + at + done);
                if (got <= 0) {
                    error_ = got < 0 ? errno : ENODATA;
                    return;
                }
                done += got;
            }
            ExtentEntry entry = {};
            entry.space = space_;
            entry.page_count = static_cast<uint32_t>(size / PAGE);
            entry.address = at;
            entry.file_offset = offset_ + at;
            entry.stored_length = static_cast<uint32_t>(size);
            entry.crc = crc32c(0, buffer.data(), size);
            extents_.push_back(entry);
        }
    }
    void OnOK() override
    {
        if (error_ != 0)
            deferred_.Reject(system_error(Env(), "pread", error_).Value());
        else
            deferred_.Resolve(Napi::Buffer<uint8_t>::Copy(Env(), reinterpret_cast<const uint8_t *>(extents_.data()),
                                                          extents_.size() * sizeof(ExtentEntry)));
    }

private:
    Napi::Promise::Deferred deferred_;
    int fd_, error_ = 0;
    uint64_t offset_, length_;
    uint32_t space_;
    std::vector<ExtentEntry> extents_;
};

/* describeRange(fd, offset, length, space): Promise<extent table>; length in whole pages. */
Napi::Value describe_range(const Napi::CallbackInfo &info)
{
    auto worker = new DescribeWorker(info.Env(), to_int(info[0]), to_u64(info[1]), to_u64(info[2]),
                                     static_cast<uint32_t>(to_u64(info[3])));
    worker->Queue();
    return worker->promise();
}

class ChecksumWorker : public Napi::AsyncWorker {
public:
    ChecksumWorker(Napi::Env env, int fd, uint64_t offset, uint64_t length)
        : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), fd_(fd), offset_(offset),
          length_(length)
    {
    }
    Napi::Promise promise() const { return deferred_.Promise(); }
    void Execute() override
    {
        std::vector<uint8_t> buffer(PIECE);
        while (length_ > 0) {
            ssize_t got = pread(fd_, buffer.data(), std::min<uint64_t>(PIECE, length_), offset_);
            if (got <= 0) {
                error_ = got < 0 ? errno : ENODATA;
                return;
            }
            crc_ = crc32c(crc_, buffer.data(), got);
            offset_ += got;
            length_ -= got;
        }
    }
    void OnOK() override
    {
        if (error_ != 0)
            deferred_.Reject(system_error(Env(), "pread", error_).Value());
        else
            deferred_.Resolve(Napi::Number::New(Env(), crc_));
    }

private:
    Napi::Promise::Deferred deferred_;
    int fd_, error_ = 0;
    uint64_t offset_, length_;
    uint32_t crc_ = 0;
};

/* checksumRange(fd, offset, length): Promise<crc32c>. */
Napi::Value checksum_range(const Napi::CallbackInfo &info)
{
    auto worker = new ChecksumWorker(info.Env(), to_int(info[0]), to_u64(info[1]), to_u64(info[2]));
    worker->Queue();
    return worker->promise();
}

/* copyRange(from, fromOffset, to, toOffset, length): crc32c of what was copied. Small contents: files that travel. */
Napi::Value copy_range(const Napi::CallbackInfo &info)
{
    int from = to_int(info[0]), to = to_int(info[2]);
    uint64_t from_offset = to_u64(info[1]), to_offset = to_u64(info[3]), left = to_u64(info[4]);
    std::vector<uint8_t> buffer(PIECE);
    uint32_t crc = 0;
    while (left > 0) {
        ssize_t got = pread(from, buffer.data(), std::min<uint64_t>(PIECE, left), from_offset);
        if (got <= 0)
            throw system_error(info.Env(), "pread", got < 0 ? errno : ENODATA);
        for (ssize_t done = 0; done < got;) {
            ssize_t put = pwrite(to, buffer.data() + done, got - done, to_offset + done);
            if (put <= 0)
                throw system_error(info.Env(), "pwrite", put < 0 ? errno : EIO);
            done += put;
        }
        crc = crc32c(crc, buffer.data(), got);
        from_offset += got;
        to_offset += got;
        left -= got;
    }
    return Napi::Number::New(info.Env(), crc);
}

/* checksum(bytes, seed): crc32c. */
Napi::Value checksum(const Napi::CallbackInfo &info)
{
    auto bytes = info[0].As<Napi::Uint8Array>();
    uint32_t seed = static_cast<uint32_t>(to_u64(info[1]));
    return Napi::Number::New(info.Env(), crc32c(seed, bytes.Data(), bytes.ByteLength()));
}

} // namespace

void export_pages(Napi::Env env, Napi::Object exports)
{
    exports.Set("scanPages", Napi::Function::New(env, scan_pages));
    exports.Set("writePages", Napi::Function::New(env, write_pages));
    exports.Set("writePagesSync", Napi::Function::New(env, write_pages_sync));
    exports.Set("describeRange", Napi::Function::New(env, describe_range));
    exports.Set("checksumRange", Napi::Function::New(env, checksum_range));
    exports.Set("copyRange", Napi::Function::New(env, copy_range));
    exports.Set("checksum", Napi::Function::New(env, checksum));
}
