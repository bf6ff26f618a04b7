rule gather:
    input:
        unpack(PLAN.cell_inputs),
    output:
        scores=paths.SCORES,
    log:
        "results/logs/studies/{study}/{model}/{behaviour}/{adapter}.log",
    benchmark:
        "results/logs/studies/{study}/{model}/{behaviour}/{adapter}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        spec=PLAN.spec("gather"),
        code=PLAN.code("gather"),
    shell:
        "python -m dwatlas.jobs gather --spec {params.spec:q} --code {params.code}"
        " --outputs scores={output.scores} 2>&1 | tee {log}"


rule retained:
    input:
        scores=PLAN.study_scores(),
    output:
        retained=paths.RETAINED,
        seeds=paths.SEEDS,
        controls=paths.STUDY_CONTROLS,
        doses=paths.DOSES,
    log:
        "results/logs/studies/{study}/retained.log",
    benchmark:
        "results/logs/studies/{study}/retained.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        spec=PLAN.spec("retained"),
        code=PLAN.code("retained"),
        files=[f"scores={path}" for path in PLAN.study_scores()],
    shell:
        "python -m dwatlas.jobs retained --spec {params.spec:q} --code {params.code}"
        " --inputs {params.files}"
        " --outputs retained={output.retained} seeds={output.seeds}"
        " controls={output.controls} doses={output.doses} 2>&1 | tee {log}"


rule tables:
    input:
        retained=paths.RETAINED,
        seeds=paths.SEEDS,
        controls=paths.STUDY_CONTROLS,
        doses=paths.DOSES,
    output:
        csv=report(
            expand(paths.TABLE, table=TABLES, ending="csv", allow_missing=True),
            caption="../report/tables.rst",
            category="Tables",
            labels={"study": "{study}"},
        ),
        text=expand(paths.TABLE, table=TABLES, ending=["md", "tex"], allow_missing=True),
    log:
        "results/logs/studies/{study}/tables.log",
    benchmark:
        "results/logs/studies/{study}/tables.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("tables"),
        code=PLAN.code("tables"),
    shell:
        "python -m dwatlas.jobs tables --spec {params.spec:q} --code {params.code}"
        " --inputs retained={input.retained} seeds={input.seeds} controls={input.controls}"
        " doses={input.doses} --outputs csv={output.csv[0]} 2>&1 | tee {log}"


rule figures:
    input:
        retained=paths.RETAINED,
        seeds=paths.SEEDS,
        controls=paths.STUDY_CONTROLS,
        doses=paths.DOSES,
    output:
        png=report(
            expand(paths.FIGURE, ending="png", allow_missing=True),
            caption="../report/figures.rst",
            category="Figures",
            subcategory="{study}",
            labels={"figure": "{figure}"},
        ),
        others=expand(paths.FIGURE, ending=["svg", "pdf", "csv"], allow_missing=True),
    log:
        "results/logs/studies/{study}/figures/{figure}.log",
    benchmark:
        "results/logs/studies/{study}/figures/{figure}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("figures"),
        code=PLAN.code("figures"),
    shell:
        "python -m dwatlas.jobs figures --spec {params.spec:q} --code {params.code}"
        " --inputs retained={input.retained} seeds={input.seeds} controls={input.controls}"
        " doses={input.doses} --outputs png={output.png} 2>&1 | tee {log}"


rule report:
    input:
        retained=paths.RETAINED,
        seeds=paths.SEEDS,
        controls=paths.STUDY_CONTROLS,
        doses=paths.DOSES,
        figures=PLAN.in_study(paths.FIGURE, figure=list(PLAN.figures), ending=["png"]),
    output:
        page=report(
            paths.REPORT,
            caption="../report/page.rst",
            category="Report",
            labels={"study": "{study}"},
        ),
    log:
        "results/logs/studies/{study}/report.log",
    benchmark:
        "results/logs/studies/{study}/report.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("report"),
        code=PLAN.code("report"),
    shell:
        "python -m dwatlas.jobs report --spec {params.spec:q} --code {params.code}"
        " --inputs retained={input.retained} seeds={input.seeds} controls={input.controls}"
        " doses={input.doses} --outputs page={output.page} 2>&1 | tee {log}"
