// SPDX-License-Identifier: Apache-2.0
#include "observed.hpp"

#include <algorithm>

namespace report {
namespace {

template <class Observation>
using sums_of = typename Observation::sums_type;

/// The kind of observation that a visited reference refers to.
template <class Reference>
using kind = std::remove_cvref_t<Reference>;

template <class Sums>
cull::criterion_error_on<Sums> error_or_zero(std::string const& criterion) {
  auto found = cull::criterion_error_by_name<Sums>(criterion);
  return found ? found : [](Sums const&, std::int64_t) { return 0.0; };
}

std::int64_t sequences_of(cull::provenance const& from) { return static_cast<std::int64_t>(from.sequences.size()); }

}  // namespace

observed observed::load(std::string const& path, std::string name) {
  bool const whole_blocks = cull::safetensors_file{path}.find(cull::measures::turned_gate_norm::name) != nullptr;
  if (whole_blocks) return {std::move(name), cull::load_observation<cull::block_observation>(path)};
  return {std::move(name), cull::load_observation(path)};
}

std::vector<int> const& observed::layers() const {
  return std::visit(
      [](auto const& seen) -> auto const& { return seen.layers(); }, of_);
}
int observed::experts(int layer) const {
  return std::visit([&](auto const& seen) { return seen.experts(layer); }, of_);
}
std::vector<std::string> const& observed::domains() const {
  return std::visit(
      [](auto const& seen) -> auto const& { return seen.domains(); }, of_);
}
cull::provenance const& observed::provenance() const {
  return std::visit(
      [](auto const& seen) -> auto const& { return seen.provenance(); }, of_);
}

bool observed::has(std::string const& criterion) const {
  auto const& always = cull::criteria::names;
  if (std::find(always.begin(), always.end(), criterion) != always.end()) return true;
  if (std::holds_alternative<cull::default_observation>(of_)) return false;
  // Sums that were not asked for are 0 everywhere.
  return std::all_of(layers().begin(), layers().end(), [&](int layer) {
    auto const all = scores(layer, criterion);
    return std::any_of(all.begin(), all.end(), [](double score) { return score > 0; });
  });
}

std::vector<expert_figures> observed::figures_of(int layer, std::string const& criterion) const {
  return std::visit(
      [&](auto const& seen) {
        using sums_type = sums_of<kind<decltype(seen)>>;
        auto const score = cull::criterion_by_name<sums_type>(criterion);
        auto const error = error_or_zero<sums_type>(criterion);
        std::vector<expert_figures> out;
        for (int e = 0; e < seen.experts(layer); ++e) {
          auto const sums = seen.sums(layer, e);
          out.push_back({.score = score(sums),
                         .error = error(sums, sequences_of(seen.provenance())),
                         .traffic = sums.sum(cull::weight),
                         .mass = sums.sum(cull::gate_norm),
                         .tokens = sums.count()});
        }
        return out;
      },
      of_);
}

std::vector<double> observed::scores(int layer, std::string const& criterion, std::optional<int> domain) const {
  return std::visit(
      [&](auto const& seen) {
        auto const score = cull::criterion_by_name<sums_of<kind<decltype(seen)>>>(criterion);
        std::vector<double> out;
        for (int e = 0; e < seen.experts(layer); ++e) out.push_back(score(seen.sums(layer, e, domain)));
        return out;
      },
      of_);
}

cull::cut_uncertainty observed::doubt(cull::layer_selection const& cut, std::string const& criterion) const {
  return std::visit(
      [&](auto const& seen) {
        auto const error = error_or_zero<sums_of<kind<decltype(seen)>>>(criterion);
        return cull::uncertainty(seen, cut, error, sequences_of(seen.provenance()));
      },
      of_);
}

}  // namespace report
