// SPDX-License-Identifier: Apache-2.0
// A job of three shards and some other files, small enough to be done thousands of times in memory; its output is worked out by
// plain concatenation.
#pragma once

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/added_file.hpp>
#include <cull/checkpoint/io/memory_io.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/write_job.hpp>

#include "failures.hpp"

namespace checkpoint_test {

struct small_job {
  std::map<std::string, std::string> sources, output;
  cull::write_job job;

  explicit small_job(std::uint64_t seed = 1) {
    std::mt19937_64 random{seed};
    for (auto const* const name : {"a.safetensors", "b.safetensors", "tokenizer.json"}) {
      auto& text = sources[name];
      text.resize(600 + random() % 300);
      for (auto& c : text) c = static_cast<char>(random());
    }
    for (auto const* const name : {"one", "two", "three"}) add_shard(name, random);
    job.others.push_back({"templates/tokenizer.json"});
    add_range(job.others.back(), 2, 0, sources.at("tokenizer.json").size());
    for (auto const* const name : {"README.md", "config.json", "model.safetensors.index.json", "cull-plan.json"}) {
      job.others.push_back({name});
      std::string const text = std::string{"text of "} + name;
      job.add_text(job.others.back(), text);
      output[name] = text;
    }
    job.plan_digest = cull::detail::hex_digest(std::as_bytes(std::span{output.at("cull-plan.json")}));
    complete(output);
  }

  /// What goes with the output: a card in the place of the source's, a page, and a list of all that is there.
  template <class Io>
  static std::vector<cull::file_adder> additions(Io const& io) {
    return {{{"README.md", "serve.yml"},
             [](auto const&, auto const&) {
               return std::vector<cull::added_file>{{"README.md", "our card"}, {"serve.yml", "a page"}};
             }},
            {{"SHA256SUMS"}, [&io](auto const& dir, auto const&) {
               return std::vector<cull::added_file>{{"SHA256SUMS", names_in(io.tree(dir))}};
             }}};
  }
  /// The output with them.
  std::map<std::string, std::string> output_with_additions() const {
    auto out = output;
    out.erase(cull::manifest_file_name);
    out["README.base.md"] = out.at("README.md");
    out["README.md"] = "our card";
    out["serve.yml"] = "a page";
    out["SHA256SUMS"] = names_in(out);
    complete(out, {"README.base.md", "README.md", "SHA256SUMS", "serve.yml"});
    return out;
  }

  /// Puts the sources into a file system and notes their state.
  template <class Io>
  void put_sources(Io& io) {
    io.put("/disk/here", "");
    job.sources.clear();
    for (auto const& [name, text] : sources) {
      io.put("/model/" + name, text);
      job.sources.push_back({"/model/" + name, {}});
      io.examine(job.sources.back().path, job.sources.back().status);
    }
  }

 private:
  void complete(std::map<std::string, std::string>& tree, std::vector<std::string> const& added = {}) const {
    std::vector<cull::written_file> files;
    for (auto const& [name, text] : tree)
      files.push_back({name, text.size(), cull::detail::hex_digest(std::as_bytes(std::span{text}))});
    tree[cull::manifest_file_name] = cull::manifest_text(job.plan_digest, files, added);
  }
  static std::string names_in(std::map<std::string, std::string> const& tree) {
    std::string out;
    for (auto const& [name, text] : tree) {
      if (name != cull::manifest_file_name && !name.starts_with('.')) out += name + "\n";
    }
    return out;
  }
  void add_range(cull::job_file& file, std::uint32_t source, std::size_t begin, std::size_t size) {
    auto const& text = std::next(sources.begin(), source)->second;
    job.add(file, {cull::job_piece::kind::source, source, begin, size});
    output[file.name] += text.substr(begin, size);
  }
  void add_shard(std::string const& name, std::mt19937_64& random) {
    job.shards.push_back({name});
    auto& file = job.shards.back();
    std::string const header = "header of " + name;
    job.add_text(file, header);
    output[name] += header;
    for (int i = 0; i < 6; ++i) add_range(file, random() % 2, random() % 500, random() % 100);
    std::string const made(20 + random() % 50, static_cast<char>(random()));
    job.add(file, {cull::job_piece::kind::made, static_cast<std::uint32_t>(job.makers.size()), 0, made.size()});
    job.makers.push_back([made](cull::byte_sink const& sink) { sink(std::as_bytes(std::span{made})); });
    output[name] += made;
  }
};

}  // namespace checkpoint_test
