rule gather:
    input:
        unpack(PLAN.cell_inputs),
    output:
        scores=paths.SCORES,
        shares=paths.STUDY_SHARES,
    log:
        tasks.LOG["gather"],
    benchmark:
        tasks.BENCHMARK["gather"]
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
        "python -m dwatlas.jobs gather --spec {params.spec:q} --code {params.code} --log {log}"
        " --outputs scores={output.scores} shares={output.shares} 2>&1 | tee -i {log}"


rule retained:
    input:
        scores=PLAN.study_scores(),
        shares=PLAN.study_shares(),
        overlap=paths.OVERLAP,
    output:
        **paths.RESULTS,
    log:
        tasks.LOG["retained"],
    benchmark:
        tasks.BENCHMARK["retained"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        spec=PLAN.spec("retained"),
        code=PLAN.code("retained"),
        files=[f"scores={path}" for path in PLAN.study_scores()]
        + [f"shares={path}" for path in PLAN.study_shares()],
        results=tasks.RESULT_FILES,
    shell:
        "python -m dwatlas.jobs retained --spec {params.spec:q} --code {params.code} --log {log}"
        " --inputs {params.files} overlap={input.overlap} --outputs {params.results} 2>&1 | tee -i {log}"


rule tables:
    input:
        **paths.STUDY_TABLES,
    output:
        manifest=paths.TABLES_MANIFEST,
        csv=report(
            expand(paths.TABLE, table=TABLES, ending="csv", allow_missing=True),
            caption="../report/tables.rst",
            category="Tables",
            labels={"study": "{study}"},
        ),
        text=expand(paths.TABLE, table=TABLES, ending=["md", "tex"], allow_missing=True),
    log:
        tasks.LOG["tables"],
    benchmark:
        tasks.BENCHMARK["tables"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("tables"),
        code=PLAN.code("tables"),
        tables=tasks.STUDY_TABLE_FILES,
    shell:
        "python -m dwatlas.jobs tables --spec {params.spec:q} --code {params.code} --log {log}"
        " --inputs {params.tables} --outputs manifest={output.manifest} 2>&1 | tee -i {log}"


rule figures:
    input:
        **paths.STUDY_TABLES,
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
        tasks.LOG["figures"],
    benchmark:
        tasks.BENCHMARK["figures"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("figures"),
        code=PLAN.code("figures"),
        tables=tasks.STUDY_TABLE_FILES,
    shell:
        "python -m dwatlas.jobs figures --spec {params.spec:q} --code {params.code} --log {log}"
        " --inputs {params.tables} --outputs png={output.png} 2>&1 | tee -i {log}"


rule report:
    input:
        **paths.STUDY_TABLES,
        figures=PLAN.in_study(paths.FIGURE, figure=list(PLAN.figures), ending=["png"]),
    output:
        page=report(
            paths.REPORT,
            caption="../report/page.rst",
            category="Report",
            labels={"study": "{study}"},
        ),
    log:
        tasks.LOG["report"],
    benchmark:
        tasks.BENCHMARK["report"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("report"),
        code=PLAN.code("report"),
        tables=tasks.STUDY_TABLE_FILES,
    shell:
        "python -m dwatlas.jobs report --spec {params.spec:q} --code {params.code} --log {log}"
        " --inputs {params.tables} --outputs page={output.page} 2>&1 | tee -i {log}"
