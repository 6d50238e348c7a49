// SPDX-License-Identifier: Apache-2.0
// Which bodies have run on the host, by the names that the compiler gives their types: the counterpart of the kernels in a cubin.
// Where CULL_EXECUTED_BODIES names a folder, a process leaves its list there.
#pragma once

#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <typeinfo>

#include <cxxabi.h>
#include <unistd.h>

namespace simt_test {

class executed_bodies {
 public:
  template <class Body>
  static void note() {
    auto& all = instance();
    std::scoped_lock const lock{all.mutex_};
    all.names_.insert(readable(typeid(Body).name()));
  }
  static std::set<std::string> names() {
    auto& all = instance();
    std::scoped_lock const lock{all.mutex_};
    return all.names_;
  }
  static std::string readable(char const* mangled) {
    int status = 0;
    std::unique_ptr<char, decltype(&std::free)> const text{abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free};
    return status == 0 ? text.get() : mangled;
  }

 private:
  executed_bodies() = default;
  // At the end of the process, for the test that compares the names of all test programs with the kernels that nvcc compiled.
  ~executed_bodies() {
    char const* const folder = std::getenv("CULL_EXECUTED_BODIES");
    if (folder == nullptr) return;
    std::ofstream out{std::string{folder} + "/" + std::to_string(getpid()) + ".txt"};
    for (auto const& name : names_) out << name << '\n';
  }
  static executed_bodies& instance() {
    static executed_bodies all;
    return all;
  }
  std::mutex mutex_;
  std::set<std::string> names_;
};

}  // namespace simt_test
