rule evals:
    input:
        files=PLAN.eval_files,
    output:
        rows=paths.EVAL,
    log:
        tasks.LOG["evals"],
    benchmark:
        tasks.BENCHMARK["evals"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        spec=PLAN.spec("evals"),
        code=PLAN.code("evals"),
    shell:
        "python -m dwatlas.jobs evals --spec {params.spec:q} --code {params.code} --log {log}"
        " --outputs rows={output.rows} 2>&1 | tee -i {log}"


rule base_scores:
    input:
        model=paths.MODEL,
        rows=paths.EVAL,
    output:
        scores=paths.BASE,
    log:
        tasks.LOG["base_scores"],
    benchmark:
        tasks.BENCHMARK["base_scores"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=1,
    params:
        spec=PLAN.spec("base_scores"),
        code=PLAN.code("base_scores"),
    shell:
        "python -m dwatlas.jobs base_scores --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu}"
        " --inputs model={input.model} rows={input.rows}"
        " --outputs scores={output.scores} 2>&1 | tee -i {log}"
