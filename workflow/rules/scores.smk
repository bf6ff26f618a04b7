rule anchors:
    input:
        model=paths.MODEL,
        delta=paths.DELTA,
        geometry=paths.GEOMETRY,
        rows=PLAN.rows,
        base=PLAN.base,
    output:
        scores=paths.ANCHORS,
    log:
        tasks.LOG["anchors"],
    benchmark:
        tasks.BENCHMARK["anchors"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=1,
    params:
        spec=PLAN.spec("anchors"),
        code=PLAN.code("anchors"),
        files=PLAN.scoring_files,
    shell:
        "python -m dwatlas.jobs anchors --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu} --memory {resources.mem_mb}"
        " --inputs model={input.model} delta={input.delta} geometry={input.geometry} {params.files}"
        " --outputs scores={output.scores} 2>&1 | tee -i {log}"


rule ablate:
    input:
        model=paths.MODEL,
        delta=paths.DELTA,
        geometry=paths.GEOMETRY,
        rows=PLAN.rows,
        base=PLAN.base,
        given=PLAN.given_files,
    output:
        components=paths.COMPONENTS,
        controls=paths.CONTROLS,
    log:
        tasks.LOG["ablate"],
    benchmark:
        tasks.BENCHMARK["ablate"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=1,
    params:
        spec=PLAN.spec("ablate"),
        code=PLAN.code("ablate"),
        files=PLAN.scoring_files,
    shell:
        "python -m dwatlas.jobs ablate --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu} --memory {resources.mem_mb}"
        " --inputs model={input.model} delta={input.delta} geometry={input.geometry} {params.files}"
        " --outputs components={output.components} controls={output.controls} 2>&1 | tee -i {log}"


rule shares:
    input:
        model=paths.MODEL,
        delta=paths.DELTA,
        rows=PLAN.rows,
        base=PLAN.base,
        given=PLAN.given_files,
    output:
        shares=paths.SHARES,
    log:
        tasks.LOG["shares"],
    benchmark:
        tasks.BENCHMARK["shares"]
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=1,
    params:
        spec=PLAN.spec("shares"),
        code=PLAN.code("shares"),
        files=PLAN.scoring_files,
    shell:
        "python -m dwatlas.jobs shares --spec {params.spec:q} --code {params.code} --log {log} --gpu {resources.gpu} --memory {resources.mem_mb}"
        " --inputs model={input.model} delta={input.delta} {params.files}"
        " --outputs shares={output.shares} 2>&1 | tee -i {log}"
