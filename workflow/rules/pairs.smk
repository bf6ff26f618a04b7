rule pairs:
    input:
        model=paths.MODEL,
        questions=PLAN.question_files,
    output:
        pairs=paths.PAIRS,
    log:
        tasks.LOG["pairs"],
    benchmark:
        tasks.BENCHMARK["pairs"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=1,
    params:
        spec=PLAN.spec("pairs"),
        code=PLAN.code("pairs"),
    shell:
        "python -m dwatlas.jobs pairs --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu}"
        " --inputs model={input.model} --outputs pairs={output.pairs} 2>&1 | tee -i {log}"
