# For those who prefer node-gyp (`node-gyp rebuild -C native`). The package's own build is native/Makefile,
# which needs neither Python nor Node's headers; keep the flags of the two equal.
{
  "targets": [
    {
      "target_name": "procs_native",
      "sources": ["<!@(ls src/*.cc)"],
      "include_dirs": ["../agent/build", "<!@(node -p \"require('node-addon-api').include\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NAPI_CPP_EXCEPTIONS"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
      "libraries": ["-ldl"],
      "conditions": [["target_arch=='x64'", {"cflags_cc": ["-msse4.2"]}]]
    }
  ]
}
