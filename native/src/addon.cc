/* addon.cc - the export table, and no more. */
#include "binding.h"

static Napi::Object initialise(Napi::Env env, Napi::Object exports)
{
    export_ptrace(env, exports);
    export_process(env, exports);
    export_descriptor(env, exports);
    export_pages(env, exports);
    export_signals(env, exports);
    return exports;
}

NODE_API_MODULE(procs_native, initialise)
