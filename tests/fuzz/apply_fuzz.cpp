// SPDX-License-Identifier: Apache-2.0
// Whatever a model directory and a plan hold, they are refused, or the pruned model is what `verify`, which shares no code with
// writing, expects; its size was known before; the source is untouched, and what an interrupted run leaves is gone on from.
#include <unistd.h>

#include <cull/checkpoint/apply.hpp>
#include <cull/checkpoint/io/memory_io.hpp>
#include <cull/checkpoint/open.hpp>
#include <cull/checkpoint/verify.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>

#include "../support/faulty_io.hpp"
#include "fuzz.hpp"
#include "model_mutator.hpp"

namespace {

namespace fs = std::filesystem;

/// A directory in memory, for headers and verification, which read real files.
class room {
 public:
  room()
      : path_((fs::is_directory("/dev/shm") ? fs::path{"/dev/shm"} : fs::temp_directory_path()) /
              ("cull-fuzz-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~room() { fs::remove_all(path_); }
  room(room const&) = delete;
  room& operator=(room const&) = delete;
  fs::path const& path() const { return path_; }

  fs::path fill(fs::path const& name, std::map<std::string, std::string> const& files) const {
    auto const dir = path_ / name;
    fs::remove_all(dir);
    fs::create_directories(dir);
    for (auto const& [file, text] : files) {
      if (file.find('/') != std::string::npos) fs::create_directories((dir / file).parent_path());
      std::ofstream{dir / file, std::ios::binary} << text;
    }
    return dir;
  }
  static std::map<std::string, std::string> read(fs::path const& dir) {
    std::map<std::string, std::string> out;
    for (auto const& entry : fs::directory_iterator{dir}) {
      std::ifstream in{entry.path(), std::ios::binary};
      out[entry.path().filename().string()] = {std::istreambuf_iterator<char>{in}, {}};
    }
    return out;
  }

 private:
  fs::path path_;
};

room const& here() {
  static room const made;
  return made;
}

/// An input taken apart.
struct task {
  std::map<std::string, std::string> files;  ///< of the model's directory
  std::string plan, family;
  cull::open_options options;
  std::optional<test_support::fault> fault;

  explicit task(fuzz::model_text const& sections) {
    for (auto const& [name, text] : sections) {
      if (name == "plan") {
        plan = text;
      } else if (name == "family") {
        family = text;
      } else if (name == "options") {
        read_options(text);
      } else {
        files[name] = name.ends_with(".safetensors") ? fuzz::safetensors_bytes(name, text) : text;
      }
    }
  }

 private:
  /// Words: names of leniencies, or "error:N", "death:N", "partial:N" for what befalls the N-th operation.
  void read_options(std::string_view text) {
    while (!text.empty()) {
      auto const word = text.substr(0, text.find(' '));
      text.remove_prefix(std::min(text.size(), word.size() + 1));
      if (word == "outside-links" || cull::allow(options.allowed, word)) continue;
      auto const colon = word.find(':');
      if (colon == std::string_view::npos) continue;
      auto const kind = word.substr(0, colon);
      std::int64_t number = 0;
      for (char const c : word.substr(colon + 1, 4)) number = number * 10 + std::clamp(c - '0', 0, 9);
      using test_support::fault_kind;
      fault = {.kind = kind == "death"     ? fault_kind::death
                       : kind == "partial" ? fault_kind::partial
                                           : fault_kind::error,
               .number = number};
    }
  }
};

using tree = std::map<std::string, std::string>;

/// The model and a place to write to, in memory.
std::unique_ptr<cull::memory_io> files_of(task const& of, fs::path const& dir) {
  auto io = std::make_unique<cull::memory_io>();
  for (auto const& [name, text] : of.files) io->put(dir / name, text);
  io->put(here().path() / "here", "");
  return io;
}

/// Writes the pruned model to files in memory; gives them, or nothing where it is refused.
std::optional<tree> written(task const& of, cull::checkpoint const& model, cull::pruning_plan const& plan, fs::path const& out) {
  std::uint64_t planned = 0;
  cull::apply_report report;
  bool const prepared = fuzz::answers([&] { planned = cull::prepare(model, plan).job.bytes(); });
  auto const io = files_of(of, model.dir());
  bool const good = fuzz::answers([&] { report = cull::apply(*io, model, plan, out, {.threads = 1}); });
  fuzz::require(io->open_handles() == 0, "every file is closed");
  fuzz::require(io->tree(model.dir()) == of.files, "the source is as it was");
  fuzz::require(good == io->exists(out), "what failed has no name");
  if (!good) return std::nullopt;
  auto result = io->tree(out);
  fuzz::require(prepared && report.bytes == planned + result.at(cull::manifest_file_name).size(), "the size was known");
  return result;
}

/// The same with a fault, and again without.
void write_with_fault(task const& of, cull::checkpoint const& model, cull::pruning_plan const& plan, fs::path const& out,
                      tree const& result) {
  auto const io = files_of(of, model.dir());
  test_support::faulty_io<cull::memory_io> faulty{*io, *of.fault};
  fuzz::answers([&] { cull::apply(faulty, model, plan, out, {.threads = 1}); });
  fuzz::require(io->open_handles() == 0 && io->tree(model.dir()) == of.files, "a fault leaves the source alone");
  fuzz::require(!io->exists(out) || io->tree(out) == result, "after a fault nothing, or all of it");
  if (!io->exists(out)) cull::apply(*io, model, plan, out, {.threads = 1});
  fuzz::require(io->tree(out) == result, "after a fault the same call ends with the same bytes");
}

void verify(cull::checkpoint const& model, cull::pruning_plan const& plan, tree const& written) {
  auto const dir = here().fill("pruned", written);
  cull::verify_report report;
  fuzz::require(fuzz::answers([&] { report = cull::find_differences(model, plan, dir, {.threads = 1}); }), "verify reads it");
  if (!report.failures.empty()) std::fprintf(stderr, "fuzz: %s\n", report.failures.front().c_str());
  fuzz::require(report.failures.empty(), "what was written is what verify expects");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  task it{fuzz::split_model_text(fuzz::text_of(data, size))};
  auto const dir = here().fill("model", it.files);
  std::optional<cull::checkpoint> model;
  cull::pruning_plan plan;
  bool const understood = fuzz::answers([&] {
    if (!it.family.empty()) {
      auto const descriptor = cull::detail::parse_json(it.family, "family");
      it.options.family = cull::read_family(cull::detail::completed(descriptor, "family"), "family");
    }
    plan = cull::parse_plan(it.plan, "plan");
    model = cull::checkpoint::open(dir, it.options);
  });
  if (!understood) return 0;
  auto const out = here().path() / "out";
  auto const result = written(it, *model, plan, out);
  if (result && it.fault) write_with_fault(it, *model, plan, out, *result);
  if (result) verify(*model, plan, *result);
  fuzz::require(room::read(dir) == it.files, "the directory is as it was");
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  if (seed % 16 == 0) return LLVMFuzzerMutate(data, size, most);
  return fuzz::put(fuzz::model_mutator{fuzz::text_of(data, size), seed}.mutated(), data, most);
}
