// SPDX-License-Identifier: Apache-2.0
#include <report/gather.hpp>
#include <report/page.hpp>

#include "options.hpp"
#include "verbs.hpp"

namespace program {
namespace {

struct report_verb_options {
  report::request from;
  std::vector<std::string> files;
  std::string model;
  model_choice choice;
  int keep = 0;
  output_options output;
};

void make_report(report_verb_options const& o, console const& out) {
  o.output.check();
  auto const figures = report::gather(o.from);
  auto const page = report::to_html(figures);
  cull::write_file(o.output.path, page, o.output.policy());
  out.say("wrote " + o.output.path + ", " + megabytes(page.size()));
  out.result({{"out", o.output.path}, {"bytes", page.size()}, {"layers", figures.layers.size()}});
}

}  // namespace

void add_report(CLI::App& app, console& out, action& run) {
  auto* const verb = add_verb(app, out, "report", "Draw observations, plans and evaluations: one self-contained HTML file",
                              "cull report term.obs.safetensors plan.json eval.json --model GLM-5.2-NVFP4 --out report.html");
  auto const o = std::make_shared<report_verb_options>();
  verb->add_option("FILE", o->files,
                   "observations, plans, and what eval and verify print with --json; the first observation is drawn, the first "
                   "plan is its cut, further ones are compared")
      ->required();
  verb->add_option("--model", o->model, "directory of the source model, for bytes and serving checks");
  add_model_options(*verb, o->choice);
  verb->add_option("--keep", o->keep, "show this cut where there is no plan")->check(CLI::Range(1, 65536));
  std::vector<std::string> names{cull::criteria::names.begin(), cull::criteria::names.end()};
  names.insert(names.end(), cull::criteria::block_names.begin(), cull::criteria::block_names.end());
  verb->add_option("--criterion", o->from.criterion, "what scores the experts (default: the plan's, or reap)")
      ->check(CLI::IsMember(names));
  verb->add_option("--title", o->from.title, "of the page (default: the model's name)");
  o->output.add_to(*verb, "page to write (HTML)");
  verb->callback([=, &out, &run] {
    o->from.files.assign(o->files.begin(), o->files.end());
    o->from.model = o->model;
    o->from.family = o->choice.family;
    if (o->keep > 0) o->from.keep = o->keep;
    o->from.command = out.command;
    run = [=, &out] { make_report(*o, out); };
  });
}

}  // namespace program
