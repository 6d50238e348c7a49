// SPDX-License-Identifier: Apache-2.0
// A job of three shards and some other files, small enough to be done thousands of times in memory; its output is worked out by
// plain concatenation.
#pragma once

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/io/memory_io.hpp>
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
    for (auto const* const name : {"config.json", "model.safetensors.index.json", "cull-plan.json"}) {
      job.others.push_back({name});
      std::string const text = std::string{"text of "} + name;
      job.add_text(job.others.back(), text);
      output[name] = text;
    }
    job.plan_digest = cull::detail::hex_digest(std::as_bytes(std::span{output.at("cull-plan.json")}));
    std::vector<cull::written_file> files;
    for (auto const& [name, text] : output)
      files.push_back({name, text.size(), cull::detail::hex_digest(std::as_bytes(std::span{text}))});
    output[cull::manifest_file_name] = cull::manifest_text(job.plan_digest, files);
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
